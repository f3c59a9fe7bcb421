"""Checks that a run's numbers are finite; the error names quantity, step and examples."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mnist_dist.data.pipeline import Trainset
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import RunError
from mnist_dist.training.step_records import StepRecord

SHOWN_IDS = 64


def diverged(worker_name: str, what: str, step: int, batch: str = "") -> RunError:
    """Makes the error that ends the run.

    Args:
        worker_name: this worker and its host.
        what: the description of what isn't finite.
        step: global steps done.
        batch: the description by `batch_of`.
    """
    return RunError(
        f"{worker_name}: {what} at step {step}{batch}, and nothing was saved since; "
        "lower --lr, or warm it up with --warmup_steps"
    )


def batch_of(
    step: int, trainset: Trainset, placement: ReplicaPlacement, replicas: Sequence[int] = ()
) -> str:
    """Describes the examples of a step (from 0) on these replicas; without any, on all."""
    every = replicas or range(placement.replicas)
    ids = [n for r in every for rows in trainset.example_ids(step, r) for n in rows]
    shown = ", ".join(map(str, ids[:SHOWN_IDS])) + (", ..." if len(ids) > SHOWN_IDS else "")
    workers = sorted({replica // len(placement.devices) for replica in replicas})
    named = ", ".join(map(str, workers))
    on = f" on worker {named} (replica {', '.join(map(str, replicas))})" if replicas else ""
    return f"{on}, of the {len(ids)} training examples {shown}"


def check_step(
    worker_name: str, record: StepRecord, trainset: Trainset, placement: ReplicaPlacement
) -> None:
    """Raises RunError if a step's loss or a replica's own gradient isn't finite."""
    finite = math.isfinite(record.loss)
    if finite and not record.nonfinite_replicas:
        return
    what = "a gradient isn't finite" if finite else f"the loss is {record.loss}"
    batch = batch_of(record.step, trainset, placement, record.nonfinite_replicas)
    raise diverged(worker_name, what, record.step + 1, batch)


def check_weights(
    worker_name: str,
    variables: Mapping[str, Any],
    step: int,
    trainset: Trainset,
    placement: ReplicaPlacement,
) -> None:
    """Raises RunError if a variable isn't finite after `step` global steps."""
    for name, variable in variables.items():
        if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
            batch = batch_of(step - 1, trainset, placement)
            raise diverged(worker_name, f"{name} isn't finite", step, batch)
