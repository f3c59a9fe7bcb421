"""Would this cluster work: `python -m mnist_dist.doctor`, before a job is paid for.

In: the trainer's flags, the environment, every worker's own look at its machine.
Not in: training; what it tries, it takes away again.
"""
