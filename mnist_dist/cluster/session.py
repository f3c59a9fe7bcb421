"""Joins the other workers of a run, agrees with them, and leaves together with them."""

import contextlib
import math
import socket
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from mnist_dist.cluster import host_share, rendezvous
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.rendezvous import Terms
from mnist_dist.cluster.topology import Topology
from mnist_dist.devices import failures, resources, strategy, visible
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.devices.strategy import Devices
from mnist_dist.devices.visible import Wanted
from mnist_dist.errors import BitsDiffer, RunError, UsageError

AGREE_TIMEOUT_S = 120.0


class Session:
    """This worker in its run, which may be alone.

    Attributes:
        topology: which workers run where.
        devices: the devices of the replicas.
        placement: which replicas this worker has.
        worker_name: this worker's name for messages, such as "worker 1 (host n2)".
    """

    def __init__(self, topology: Topology, devices: Devices, meeting: Meeting | None) -> None:
        self.topology = topology
        self.devices = devices
        self.placement = ReplicaPlacement(devices.strategy, devices.names, topology.rank)
        self.worker_name = f"worker {topology.rank} (host {socket.gethostname()})"
        self._meeting = meeting

    def agree(self, what: str, value: Any) -> None:
        """Checks that all workers have the same `value` (JSON).

        Raises:
            RunError: one differs from worker 0, which is named with both values.
        """
        if self._meeting is None:
            return
        found = self._meeting.difference(value, AGREE_TIMEOUT_S)
        if found is not None:
            rank, other, chief = found
            raise RunError(
                f"{what} of worker {rank} ({self._meeting.workers[rank]}) is {other}, of "
                f"worker 0 ({self._meeting.workers[0]}) {chief}; all stop"
            )

    def difference(self, value: Any) -> list[Any] | None:
        """Returns how a worker's `value` (JSON) differs from worker 0's: see Meeting.difference.

        Raises:
            RunError: a worker isn't at this point in time.
        """
        return self._meeting.difference(value, AGREE_TIMEOUT_S) if self._meeting else None

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """Returns what `make` returns on worker 0 (JSON); the others wait for it.

        Raises:
            RunError: a worker isn't at this point in time.
        """
        if self._meeting is None:
            return make()
        made = make() if self.topology.is_chief else None
        return self._meeting.exchange(None, lambda _: made, AGREE_TIMEOUT_S)

    def exchange(self, value: Any, combine: Callable[[list[Any]], Any]) -> Any:
        """Returns what `combine` makes of all workers' values (JSON), on each worker.

        It waits as long as the others live: worker 0 may be waiting for a slow disk.

        Args:
            value: this worker's.
            combine: called on worker 0 with the values by rank.
        """
        if self._meeting is None:
            return combine([value])
        return self._meeting.exchange(value, combine, math.inf)

    def report_step(self, step: int) -> None:
        """Reports the last global step of this worker with the next heartbeat."""
        if self._meeting is not None:
            self._meeting.report_step(step)


def _check_number(meeting: Meeting, devices: int) -> None:
    """Raises UsageError if a worker has another number of devices than worker 0."""
    found = meeting.difference(devices, AGREE_TIMEOUT_S)
    if found is not None:
        other, theirs, chiefs = found
        raise UsageError(
            f"worker {other} ({meeting.workers[other]}) has {theirs} device(s), worker 0 {chiefs}; "
            "give each worker the same number, with --gpus or the scheduler"
        )


@contextlib.contextmanager
def join(
    wanted: Wanted, terms: Terms, topology: Topology, stop_signal: Callable[[], str] = str
) -> Iterator[Session]:
    """Sets up this process's devices and, in a run of several workers, the connection to them.

    Args:
        wanted: decides the devices.
        terms: settings of the meeting.
        topology: which workers run where.
        stop_signal: returns the name of the signal that asked this process to stop, or "".

    Raises:
        UsageError: a device isn't there, or workers were started with different flags.
        RunError: a worker doesn't come, or is lost. ToldToStop: a signal came while waiting.
    """
    meeting: Meeting | None = None
    workers = topology.workers
    several = topology.num_workers > 1
    # A worker's devices are known before the meeting, unless it shares its host's with others.
    known = topology.addresses_known
    names = visible.local_devices(wanted, topology.num_workers) if known else ()
    if several:
        meeting = rendezvous.meet(topology, len(names), terms, stop_signal)
        workers = meeting.workers
        meeting.watch(terms.peer_timeout_s)
    try:
        if meeting is not None and not known:
            _, gpus = host_share.take(meeting, topology, wanted.no_gpu, wanted.gpus)
            wanted = wanted._replace(gpus=gpus)
            names = visible.local_devices(wanted, topology.num_workers)
            _check_number(meeting, len(names))
        devices = strategy.build(wanted, names, workers, topology.rank, resources.cores())
        yield Session(topology, devices, meeting)
        if meeting is not None:
            meeting.goodbye()
    except BitsDiffer:  # which all workers raise at this step, each with its own exit code
        if meeting is not None:
            meeting.goodbye()
        raise
    except (RunError, UsageError) as error:
        if meeting is not None:
            meeting.fail(str(error), usage=isinstance(error, UsageError))
        raise
    except tf.errors.OpError as error:
        if meeting is not None:
            meeting.wait_for_cause(terms.peer_timeout_s)
        reason = failures.line(type(error).__name__, error.message)
        raise RunError(f"worker {topology.rank} (host {socket.gethostname()}): {reason}") from error
