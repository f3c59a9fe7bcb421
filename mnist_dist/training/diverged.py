"""The error of a run whose numbers are no longer finite: what, at which step, on which examples."""

from collections.abc import Sequence

from mnist_dist.data.pipeline import Trainset
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import RunError

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
