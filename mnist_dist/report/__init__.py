"""Which run was best, and is it real: `python -m mnist_dist.report RUN_DIR...`, one page.

In: folders that runs have written.
Not in: TensorFlow; nothing here trains or changes a run.
"""
