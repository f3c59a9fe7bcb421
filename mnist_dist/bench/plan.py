"""Which numbers of replicas are measured, what a worker does for one of them, what is summed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mnist_dist.network.architecture import Stage


class Level(NamedTuple):
    """A part of the allocation.

    Attributes:
        workers: the first so many.
        devices: of each, the first so many.
    """

    workers: int
    devices: int

    @property
    def replicas(self) -> int:
        """Over all workers."""
        return self.workers * self.devices


class Task(NamedTuple):
    """What a worker is to measure.

    Attributes:
        workers: host:port of each by rank; empty for this process alone.
        rank: this worker's number.
        devices: how many of its devices to use; 0 for the first alone, to look what is there.
        seconds: of each timed stretch.
    """

    workers: tuple[str, ...]
    rank: int
    devices: int
    seconds: float


def levels(workers: int, devices: int) -> list[Level]:
    """From one replica to all: the devices of the first worker, then worker by worker.

    Args:
        workers: of the allocation.
        devices: of each worker.
    """
    return [
        *(Level(1, number) for number in _doubling(devices)),
        *(Level(number, devices) for number in _doubling(workers)[1:]),
    ]


def travels(
    stages: Sequence[Stage], size_bytes: int, short: bool, bytes_per_pack: int, micro_batches: int
) -> dict[str, int]:
    """What is summed over the replicas in a step.

    Args:
        stages: of the network.
        size_bytes: of a number of a gradient.
        short: whether they travel as bfloat16; the few sums then go by themselves.
        bytes_per_pack: how much goes at once; 0 for all.
        micro_batches: in each a batch normalisation sums forward and backward.

    Returns:
        "parameters", "bytes" of their gradients as they travel, and "reductions", how many
        all-reduces there are.
    """
    normed = [stage for stage in stages if stage.normed]
    moving = sum(2 * stage.shape[-1] for stage in normed)  # mean and variance have no gradient
    parameters = sum(stage.parameters for stage in stages)
    sent = (parameters - moving) * (2 if short else size_bytes)
    packs = math.ceil(sent / bytes_per_pack) if bytes_per_pack else 1
    reductions = packs + short + 2 * len(normed) * micro_batches
    return {"parameters": parameters, "bytes": sent, "reductions": reductions}


def _doubling(most: int) -> list[int]:
    """1, 2, 4 ... and `most`."""
    return sorted({*(2**power for power in range(most.bit_length())), most})
