"""The meeting of workers that run a tool, such as the doctor, and no training."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

from mnist_dist.cluster import rendezvous
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError, UsageError


@contextlib.contextmanager
def met(  # noqa: PLR0913
    where: Topology,
    tool: str,
    same: Mapping[str, Mapping[str, str]],
    connect_timeout_s: float,
    peer_timeout_s: float,
    interface: str,
) -> Iterator[Meeting]:
    """All workers of the tool, together; they part at the end, and an error here is told to all.

    Args:
        where: which worker this is, of several.
        tool: its name, which keeps its workers apart from a training's.
        same: kind -> name -> value, what must be the same on all.
        connect_timeout_s: how long to wait for all of them.
        peer_timeout_s: silence after which one counts as lost.
        interface: network interface between them; empty for that of the host's name.

    Raises:
        UsageError, RunError: they don't meet, differ, or one is lost.
    """
    apart = dataclasses.replace(where, token=f"{where.token}-{tool}")
    meeting = rendezvous.meet(apart, 0, same, connect_timeout_s, interface)
    meeting.watch(peer_timeout_s)
    try:
        yield meeting
        meeting.goodbye()
    except (RunError, UsageError) as error:
        meeting.fail(str(error), usage=isinstance(error, UsageError))
        raise
