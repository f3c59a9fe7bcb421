"""The meeting of workers that run a tool, such as the doctor, in place of a training."""

import contextlib
import dataclasses
from collections.abc import Iterator

from mnist_dist.cluster import rendezvous
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.rendezvous import Terms
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError, UsageError


@contextlib.contextmanager
def met(topology: Topology, tool: str, terms: Terms) -> Iterator[Meeting]:
    """Lets the workers of a tool meet, and part at the end; an error in one ends all.

    Args:
        topology: of several workers.
        tool: the tool's name, which keeps its workers apart from those of a training.
        terms: settings of the meeting.

    Raises:
        UsageError, RunError: the workers don't meet, or differ, or one is lost.
    """
    apart = dataclasses.replace(topology, token=f"{topology.token}-{tool}")
    meeting = rendezvous.meet(apart, 0, terms)
    meeting.watch(terms.peer_timeout_s)
    try:
        yield meeting
        meeting.goodbye()
    except (RunError, UsageError) as error:
        meeting.fail(str(error), usage=isinstance(error, UsageError))
        raise
