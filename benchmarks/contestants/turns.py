"""A contestant's side of a contest: a turn for each line on standard input, answered in JSON."""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.job import CHECKED_STEPS, Job
from mnist_dist.data import sources
from mnist_dist.data.order import Order
from mnist_dist.devices import resources

VALIDATION_IMAGES = 5000


class Turns:
    """Answers on what was standard output; whatever else is written there is dropped."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._answers = os.fdopen(os.dup(1), "w")
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.close(silence)
        self._started_s = time.perf_counter()

    def over(self) -> bool:
        """Says how long the turn took, and waits for the next; False where there is none.

        The first turn warms up: it lasts from here's beginning.
        """
        self.say(seconds=time.perf_counter() - self._started_s)
        asked = sys.stdin.readline()
        self._started_s = time.perf_counter()
        return bool(asked)

    def say(self, **values: Any) -> None:
        """One answer, with the most memory that this process had so far."""
        peak_bytes = resources.used()["peak_memory_bytes"]
        print(json.dumps({**values, "peak_bytes": peak_bytes}), file=self._answers, flush=True)


class Arrays:
    """What all contestants begin with: the same images, order and weights.

    Attributes:
        images: uint8 [examples, 28, 28, 1], those to train on.
        labels: int32 [examples].
        test: the split to score.
        weights: name -> float32 array, as Network names and shapes them.
    """

    def __init__(self, job: Job) -> None:
        data = sources.load("", "", VALIDATION_IMAGES)
        self.images, self.labels, self.test = data.train.images, data.train.labels, data.test
        with np.load(job.weights) as arrays:
            self.weights = {name.replace("|", "/"): arrays[name] for name in arrays.files}
        self._order = Order(0, len(self.labels), job.batch)

    def permuted(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels in the order of the first epoch."""
        ids = self._order.permutation(0)
        return self.images[ids], self.labels[ids]

    def batch_ids(self, step: int) -> np.ndarray:
        """The examples of a global step: int64 [batch]; an epoch's last, smaller one is left out.

        So that no contestant has to compile for its shape in the middle of a turn.
        """
        whole = self._order.examples // self._order.batch_size
        epoch, number = divmod(step, whole)
        begin = number * self._order.batch_size
        return self._order.permutation(epoch)[begin : begin + self._order.batch_size]


def first(values: Sequence[Any]) -> list[float]:
    """The losses that are compared."""
    return [float(value) for value in values[:CHECKED_STEPS]]
