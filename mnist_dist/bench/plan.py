"""Which numbers of replicas are measured, what a worker does for one of them, what is summed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mnist_dist.network.architecture import Stage


class Level(NamedTuple):
    """Some of the allocation's devices.

    Attributes:
        workers: the number of workers; the first ones are used.
        devices: the number of devices of each; the first ones are used.
    """

    workers: int
    devices: int

    @property
    def replicas(self) -> int:
        """Over all workers."""
        return self.workers * self.devices


class Task(NamedTuple):
    """A measurement by one worker.

    Attributes:
        workers: host:port of each by rank; empty for this process alone.
        rank: this worker's number.
        devices: the number of its devices to use; 0 for one, to find out how many there are.
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
    """Returns what is summed over the replicas in a step.

    Args:
        stages: of the network.
        size_bytes: bytes of one element of a gradient.
        short: whether gradients are sent as bfloat16; the sums of losses are then sent separately.
        bytes_per_pack: bytes sent together; 0 for all.
        micro_batches: micro-batches per step; each sums batch statistics forward and backward.

    Returns:
        "parameters", "bytes" of their gradients as they are sent, and "reductions", the number
        of all-reduces.
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
