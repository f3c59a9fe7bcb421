"""Compares runs on one page: `python -m mnist_dist.report RUN_DIR...`.

In: folders that runs have written.
Not in: TensorFlow; nothing here trains or changes a run.
"""
