"""A run whose numbers went wrong: what, at which step, on whose examples."""

from collections.abc import Sequence

from mnist_dist.data.pipeline import Trainset
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import RunError

SHOWN_IDS = 64


def diverged(worker_name: str, what: str, step: int, batch: str = "") -> RunError:
    """The error that ends it.

    Args:
        worker_name: this worker and its host.
        what: isn't finite.
        step: how many global steps have been done.
        batch: what `batch_of` gave.
    """
    return RunError(
        f"{worker_name}: {what} at step {step}{batch}, and nothing was saved since; "
        "lower --lr, or warm it up with --warmup_steps"
    )


def batch_of(
    step: int, trainset: Trainset, placement: ReplicaPlacement, replicas: Sequence[int] = ()
) -> str:
    """What a step (from 0) was trained on, by these replicas or, if there are none, by all."""
    every = replicas or range(placement.replicas)
    ids = [n for r in every for part in trainset.example_ids(step, r) for n in part]
    shown = ", ".join(map(str, ids[:SHOWN_IDS])) + (", ..." if len(ids) > SHOWN_IDS else "")
    workers = sorted({replica // len(placement.devices) for replica in replicas})
    named = ", ".join(map(str, workers))
    on = f" on worker {named} (replica {', '.join(map(str, replicas))})" if replicas else ""
    return f"{on}, of the {len(ids)} training examples {shown}"
