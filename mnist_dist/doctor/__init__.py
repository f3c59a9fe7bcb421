"""Checks a cluster before a job is submitted: `python -m mnist_dist.doctor`.

In: the trainer's flags, the environment, the facts of each worker.
Not in: training; it deletes the files that it writes.
"""
