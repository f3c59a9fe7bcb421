"""--precision=auto: the fastest arithmetic that trains like float32, measured at the start.

Each candidate trains the run's own first steps from its own initial weights, on worker 0's first
device; then they are forgotten. Worker 0 chooses for all, and a resumed run keeps the choice.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.training.steps import Steps

SECONDS = 0.5  # of each timed call, and there are two
ALIKE = 0.02  # relative difference of the mean loss over the timed steps
GAIN = 0.97  # a coarser arithmetic that takes more than this part of the time isn't worth it


class Trial(NamedTuple):
    """What a candidate did.

    Attributes:
        precision: its name.
        ms: milliseconds a step, the better of two calls.
        loss: mean over the steps that all candidates made, in nats.
    """

    precision: str
    ms: float
    loss: float


def choose(trials: Sequence[Trial]) -> tuple[str, str]:
    """The chosen precision, and a line that says why; the first trial is what is compared with."""
    first, best = trials[0], trials[0]
    for trial in trials[1:]:
        alike = abs(trial.loss - first.loss) <= ALIKE * first.loss  # never, if it isn't finite
        limit = GAIN * first.ms if best is first else best.ms
        if alike and trial.ms < limit:
            best = trial
    figures = ", ".join(f"{t.precision} {t.ms:.2f} (loss {t.loss:.4f})" for t in trials)
    return best.precision, f"measured, ms a step: {figures}"


def trial(precision: str, steps: Steps, block: Block, rates: Sequence[float]) -> Trial:
    """Trains a block's first steps once to compile and compare, and twice for the time.

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

    _, first = seconds(1)
    once_s, second = seconds(1)
    count = max(1, min(len(rates), math.ceil(SECONDS / once_s)))
    taken_s = min(seconds(count)[0] for _ in range(2))
    return Trial(precision, 1e3 * taken_s / count, float((first + second).mean() / 2))


def all_trials(
    candidates: Sequence[str],
    build: Callable[[str], Steps],
    block: Block,
    rates: Sequence[float],
) -> list[Trial]:
    """A trial of each candidate; `build` makes the steps of one."""
    return [trial(name, build(name), block, rates) for name in candidates]
