"""Measures this allocation and predicts a larger one: `python -m mnist_dist.bench`.

In: the trainer's flags, the environment, short trainings on 1 to all replicas.
Not in: checkpoints, scores; computation and all-reduce are those of the trainer.
"""
