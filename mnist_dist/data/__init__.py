"""From files to blocks of training steps: reading, splitting, who sees what and when.

In: paths and names of sets; numbers of steps, replicas and micro-batches.
Not in: TensorFlow (but for TFDS sets), devices, the network.
"""
