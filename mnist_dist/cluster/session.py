"""Joining the other workers, agreeing with them, and leaving together; alone, all of it is easy."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.cluster import rendezvous
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.topology import Topology
from mnist_dist.devices import failures, resources, strategy, visible
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.devices.strategy import Devices
from mnist_dist.devices.visible import Wanted
from mnist_dist.errors import RunError, UsageError

AGREE_TIMEOUT_S = 120.0


class Terms(NamedTuple):
    """On what terms the workers meet.

    Attributes:
        connect_timeout_s: how long to wait for all of them.
        peer_timeout_s: silence after which one counts as lost.
        interface: network interface between them; empty for that of the host's name.
        fingerprints: kind -> name -> value, such as the flags: the same on all.
    """

    connect_timeout_s: float
    peer_timeout_s: float
    interface: str
    fingerprints: Mapping[str, Mapping[str, str]]


class Session:
    """This worker among all.

    Attributes:
        topology: who runs where.
        devices: what the replicas run on.
        placement: which replicas are here.
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
        values = self._meeting.gather(value, AGREE_TIMEOUT_S)
        for rank, theirs in enumerate(values):
            if theirs != values[0]:
                raise RunError(
                    f"{what} of worker {rank} ({self.topology.workers[rank]}) is {theirs}, of "
                    f"worker 0 ({self.topology.workers[0]}) {values[0]}; all stop"
                )

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """What worker 0 makes (JSON), on all workers; the others wait for it."""
        if self._meeting is None:
            return make()
        return self._meeting.gather(make() if self.topology.is_chief else None, AGREE_TIMEOUT_S)[0]

    def report_step(self, step: int) -> None:
        """Tells the others, with the next heartbeat, how far this worker is."""
        if self._meeting is not None:
            self._meeting.report_step(step)


@contextlib.contextmanager
def join(
    wanted: Wanted, terms: Terms, topology: Topology, told: Callable[[], str] = str
) -> Iterator[Session]:
    """This process's devices and, with other workers, the connection to them.

    Args:
        wanted: what the devices are chosen by.
        terms: on what terms the workers meet.
        topology: who runs where.
        told: name of the signal that told this worker to stop; empty as long as there was none.

    Raises:
        UsageError: devices that aren't there, workers started with different flags.
        RunError: a worker that doesn't come, or is lost. ToldToStop: while waiting for one.
    """
    names = visible.local_devices(wanted, topology.num_workers)
    meeting, workers = None, topology.workers
    if topology.num_workers > 1:
        meeting = rendezvous.meet(
            topology,
            len(names),
            terms.fingerprints,
            terms.connect_timeout_s,
            terms.interface,
            told,
        )
        workers = meeting.workers
        meeting.watch(terms.peer_timeout_s)
    try:
        devices = strategy.build(wanted, names, workers, topology.rank, resources.cores())
        yield Session(topology, devices, meeting)
        if meeting is not None:
            meeting.goodbye()
    except (RunError, UsageError) as error:
        if meeting is not None:
            meeting.fail(str(error), usage=isinstance(error, UsageError))
        raise
    except tf.errors.OpError as error:
        if meeting is not None:
            meeting.wait_for_cause(terms.peer_timeout_s)
        reason = failures.line(type(error).__name__, error.message)
        raise RunError(f"worker {topology.rank} (host {socket.gethostname()}): {reason}") from error
