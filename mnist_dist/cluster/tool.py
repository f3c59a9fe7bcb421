"""The meeting of workers that run a tool, such as the doctor, in place of a training."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

from mnist_dist.cluster import rendezvous
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError, UsageError


@contextlib.contextmanager
def met(  # noqa: PLR0913
    topology: Topology,
    tool: str,
    same: Mapping[str, Mapping[str, str]],
    connect_timeout_s: float,
    peer_timeout_s: float,
    interface: str,
) -> Iterator[Meeting]:
    """Lets the workers of a tool meet, and part at the end; an error in one ends all.

    Args:
        topology: of several workers.
        tool: the tool's name, which keeps its workers apart from those of a training.
        same: kind -> name -> value, which must be equal on all workers.
        connect_timeout_s: how long to wait for all workers.
        peer_timeout_s: silence after which a worker counts as lost.
        interface: network interface between the workers; empty for that of the host's name.

    Raises:
        UsageError, RunError: the workers don't meet, or differ, or one is lost.
    """
    apart = dataclasses.replace(topology, token=f"{topology.token}-{tool}")
    meeting = rendezvous.meet(apart, 0, same, connect_timeout_s, interface)
    meeting.watch(peer_timeout_s)
    try:
        yield meeting
        meeting.goodbye()
    except (RunError, UsageError) as error:
        meeting.fail(str(error), usage=isinstance(error, UsageError))
        raise
