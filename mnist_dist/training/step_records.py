"""The record of each training step that the host receives, and its layout in a tensor.

One row a step: [loss, accuracy, stop requests, a flag for each replica, gradient norm]. A whole
block's rows reach the host as one tensor, so a GPU is waited for once a block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mnist_dist.run.tensorboard import SUMMARY_STEPS

SAVE = 2.0**-11
"""A replica's share of a step's requests that asks for a save; a stop is 1."""


class StepRecord(NamedTuple):
    """One global step.

    Attributes:
        step: its number, from 0.
        loss: mean over the global batch, in nats.
        accuracy: share of right answers in the global batch, 0..1.
        stop_requested: whether any worker had been told to stop before the block.
        save_requested: whether worker 0 had asked for a save before the block.
        nonfinite_replicas: the replicas whose own gradients weren't finite.
        gradient_norm: the global norm of the applied gradient; None for a step whose norm isn't
            computed (see `has_norm`).
    """

    step: int
    loss: float
    accuracy: float
    stop_requested: bool
    save_requested: bool
    nonfinite_replicas: tuple[int, ...]
    gradient_norm: float | None


def width(replicas: int) -> int:
    """Numbers in a row."""
    return 4 + replicas


def requests(stop: bool, save: bool) -> float:
    """One number for a worker's requests; the sum over all replicas is exact in float32.

    Args:
        stop: all shall stop after this block.
        save: all shall save after this block; only worker 0 may ask for it, on up to 2,047 devices.
    """
    return float(stop) + SAVE * save


def has_norm(step: int | tf.Tensor) -> bool | tf.Tensor:
    """Whether the gradient's norm of global step `step`, from 0, is computed: each summary's."""
    return (step + 1) % SUMMARY_STEPS == 0


def sums(scores: tf.Tensor, stop: tf.Tensor, nonfinite: tf.Tensor) -> tf.Tensor:
    """A replica's share of a row, all but the norm, to be summed over the replicas.

    Args:
        scores: dtype [2], loss and right answers.
        stop: dtype scalar, this worker's `requests`.
        nonfinite: dtype [replicas], 1 in this replica's place if its gradients aren't finite.
    """
    return tf.concat([scores, [stop], nonfinite], 0)


def row(summed: tf.Tensor, norm: tf.Tensor) -> tf.Tensor:
    """A whole row: dtype [width]."""
    return tf.concat([summed, [norm]], 0)


def unpack(rows: np.ndarray, steps: Sequence[int]) -> list[StepRecord]:
    """The records of `steps` from a block's rows, dtype [K, width]."""
    records = []
    for step, values in zip(steps, rows[: len(steps)].astype(float), strict=True):
        loss, accuracy, stop, *nonfinite, norm = map(float, values)
        replicas = tuple(number for number, flag in enumerate(nonfinite) if flag)
        known = norm if has_norm(step) else None
        asked = stop >= 1.0, stop % 1.0 > 0.0
        records.append(StepRecord(step, loss, accuracy, *asked, replicas, known))
    return records
