"""A short training of the run's own first steps, timed; what it trained is forgotten."""

import math
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.training.choice import Trial
from mnist_dist.training.steps import Steps

COMPARED_STEPS = 5
SECONDS = 0.5  # of each timed call, and there are two


def trial(precision: str, steps: Steps, block: Block, rates: Sequence[float]) -> Trial:
    """Trains a block's first steps to compile and compare, then some of them twice for the time.

    Args:
        precision: the candidate's name.
        steps: those of a network in this precision, at its initial weights.
        block: a replica's, on its device.
        rates: the learning rate of each of the block's steps.
    """
    dtype = steps.dtype
    given = tf.constant(np.array(rates), dtype), tf.constant(0.0, dtype)

    def seconds(count: int) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        records = steps.train(block, given[0], tf.constant(count), given[1]).numpy()
        return time.perf_counter() - started, records[:count, 0]

    compared = min(COMPARED_STEPS, len(rates))
    _, losses = seconds(compared)
    once_s, _ = seconds(1)
    count = max(1, min(len(rates), math.ceil(SECONDS / once_s)))
    taken_s = min(seconds(count)[0] for _ in range(2))
    return Trial(precision, 1e3 * taken_s / count, float(losses.mean()))
