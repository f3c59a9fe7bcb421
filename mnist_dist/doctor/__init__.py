"""Checks whether this cluster would work: `python -m mnist_dist.doctor`, before a job is paid for.

In: the trainer's flags, the environment, the facts of each worker.
Not in: training; it deletes the files that it writes.
"""
