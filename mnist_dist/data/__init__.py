"""Reads data sets, splits them, and makes blocks of training steps for the replicas.

In: paths and names of data sets; numbers of steps, replicas and micro-batches.
Not in: TensorFlow (except for TFDS sets and blocks on devices), the network.
"""
