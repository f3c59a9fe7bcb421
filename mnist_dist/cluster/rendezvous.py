"""The workers meet over plain TCP before TensorFlow starts, which would wait for them silently.

Worker 0 listens on its port; the others introduce themselves. Worker 0 compares them with itself,
has each try to reach a few others, and sends all of them a verdict. The connections stay open, and
group.py watches over them. docs/meeting.md describes the protocol.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping

from mnist_dist.cluster import descriptors, ports, reception
from mnist_dist.cluster.address import join
from mnist_dist.cluster.deadline import MeetingDeadline
from mnist_dist.cluster.event_loop import EventLoop
from mnist_dist.cluster.group import Group
from mnist_dist.cluster.handshake import Handshake, digest
from mnist_dist.cluster.introduction import Introduction
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.topology import Topology

ARRIVALS = 128  # that are accepted before anything else is done


def meet(  # noqa: PLR0913
    topology: Topology,
    devices: int,
    fingerprints: Mapping[str, Mapping[str, str]],
    connect_timeout_s: float,
    interface: str = "",
    stop_signal: Callable[[], str] = str,
) -> Meeting:
    """Waits until all workers have connected and agree.

    Args:
        topology: has at least two workers.
        devices: the number of devices of this worker; it must be the same on all workers.
        fingerprints: kind -> name -> value; all workers must have equal values.
        connect_timeout_s: how long to wait for the last worker, in seconds.
        interface: network interface whose address the others are to use; empty: the host's name.
        stop_signal: returns the name of the signal that asked this process to stop, or "".

    Raises:
        UsageError: workers that don't fit together, a port in use, an unknown interface, too low a
            limit of open files.
        RunError: a worker that didn't come, a host that can't be found; the message names it.
            ToldToStop: this process was asked to stop meanwhile.
    """
    chosen = ports.interface_address(interface)
    if topology.is_chief:
        descriptors.ensure(topology.num_workers)
    listener, port = ports.claim(topology, chosen)
    own = Handshake(
        topology.rank,
        socket.gethostname(),
        os.getpid(),
        join(chosen or topology.host, port),
        devices,
        digest(topology.workers),
        fingerprints,
    )
    loop = EventLoop()
    deadline = MeetingDeadline(own.name, connect_timeout_s, loop.clock, stop_signal)
    try:
        return Meeting(loop, loop.run(rendezvous(topology, own, listener, deadline)))
    except BaseException:
        loop.close()
        raise


async def rendezvous(
    topology: Topology, own: Handshake, listener: socket.socket, deadline: MeetingDeadline
) -> Group:
    """`meet` within an event loop.

    Args:
        topology: of two workers or more.
        own: what this worker says of itself.
        listener: the socket at its address; it is closed at the end, since TensorFlow will listen
            there.
        deadline: until which all have to meet.

    Raises:
        UsageError, RunError: as `meet`.
    """
    listener.setblocking(False)
    if topology.is_chief:
        return await reception.receive(topology, own, listener, deadline)
    introduction = Introduction(topology, own, deadline)
    loop = asyncio.get_running_loop()
    loop.add_reader(listener, _close_arrivals, listener)
    try:
        return await introduction.hear_verdict(await introduction.find_chief())
    finally:
        loop.remove_reader(listener)
        listener.close()


def _close_arrivals(listener: socket.socket) -> None:
    """Closes connections to a worker other than worker 0, which are attempts to reach it."""
    with contextlib.suppress(OSError):  # there are no more
        for _ in range(ARRIVALS):
            listener.accept()[0].close()
