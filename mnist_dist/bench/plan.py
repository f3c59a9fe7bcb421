"""Which numbers of replicas are measured, and what a worker does for one of them."""

from typing import NamedTuple


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


def _doubling(most: int) -> list[int]:
    """1, 2, 4 ... and `most`."""
    return sorted({*(2**power for power in range(most.bit_length())), most})
