"""What the replicas run on: devices, threads, precision, TensorFlow's strategy, this machine.

In: what the flags ask for (Wanted), and the addresses of workers that have met.
Not in: who the workers are and why, data, networks, files.
"""
