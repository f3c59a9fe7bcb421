"""What this allocation does, and what a larger one would: `python -m mnist_dist.bench`.

In: the trainer's flags, the environment, short trainings on 1 to all replicas.
Not in: checkpoints, scores; what a replica computes and how replicas sum is the trainer's own.
"""
