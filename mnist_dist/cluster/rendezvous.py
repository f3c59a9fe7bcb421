"""The workers meet over plain TCP before TensorFlow starts, which would wait for them silently.

Worker 0 listens on its port; the others introduce themselves. Worker 0 compares them with itself,
has each try to reach a few others, and sends all of them a verdict. The connections stay open, and
group.py watches over them. docs/meeting.md describes the protocol.
"""

import asyncio
import contextlib
import dataclasses
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mnist_dist.cluster import descriptors, meeting_file, ports, reception
from mnist_dist.cluster.address import join
from mnist_dist.cluster.deadline import MeetingDeadline
from mnist_dist.cluster.event_loop import EventLoop
from mnist_dist.cluster.group import Group
from mnist_dist.cluster.handshake import Handshake, digest
from mnist_dist.cluster.introduction import Introduction
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.topology import Topology

ARRIVALS = 128  # that are accepted before anything else is done


class Terms(NamedTuple):
    """Settings of the meeting.

    Attributes:
        connect_timeout_s: how long to wait for all workers.
        peer_timeout_s: silence after which a worker counts as lost.
        interface: network interface between the workers; empty for that of the host's name.
        fingerprints: kind -> name -> value, such as the flags, equal on all workers.
        folder: that all workers see; worker 0 is found by a file there if no starter names it.
    """

    connect_timeout_s: float
    peer_timeout_s: float
    interface: str
    fingerprints: Mapping[str, Mapping[str, str]]
    folder: str = ""


def meet(
    topology: Topology, devices: int, terms: Terms, stop_signal: Callable[[], str] = str
) -> Meeting:
    """Waits until all workers have connected and agree.

    Args:
        topology: has at least two workers.
        devices: the number of devices of this worker, which must be the same on all workers; 0 if
            it isn't known yet.
        terms: settings of the meeting.
        stop_signal: returns the name of the signal that asked this process to stop, or "".

    Raises:
        UsageError: workers that don't fit together, a port in use, an unknown interface, too low a
            limit of open files, a folder that worker 0 can't write to.
        RunError: a worker that didn't come, a host that can't be found; the message names it.
            ToldToStop: this process was asked to stop meanwhile.
    """
    chosen = ports.interface_address(terms.interface)
    if topology.is_chief:
        descriptors.ensure(topology.num_workers)
    listener, port = ports.claim(topology, chosen)
    host = chosen or topology.host
    file = meeting_file.path(terms.folder, topology.token) if topology.meets_by_file else None
    with contextlib.ExitStack() as stack:
        if file and topology.is_chief:
            hosts = [chosen] if chosen else ports.own_addresses()
            token = stack.enter_context(meeting_file.published(file, hosts, port))
            topology, host = dataclasses.replace(topology, token=token), hosts[0]
        own = Handshake(
            topology.rank,
            socket.gethostname(),
            os.getpid(),
            join(host, port),
            devices,
            digest(topology.workers),
            terms.fingerprints,
        )
        loop = stack.enter_context(_closed_after_failure(EventLoop()))
        deadline = MeetingDeadline(own.name, terms.connect_timeout_s, loop.clock, stop_signal)
        return Meeting(loop, loop.run(rendezvous(topology, own, listener, deadline, file)))


@contextlib.contextmanager
def _closed_after_failure(loop: EventLoop) -> Iterator[EventLoop]:
    try:
        yield loop
    except BaseException:
        loop.close()
        raise


async def rendezvous(
    topology: Topology,
    own: Handshake,
    listener: socket.socket,
    deadline: MeetingDeadline,
    file: Path | None = None,
) -> Group:
    """`meet` within an event loop.

    Args:
        topology: of two workers or more.
        own: what this worker says of itself.
        listener: the socket at its address; it is closed at the end, since TensorFlow will listen
            there.
        deadline: until which all have to meet.
        file: by which the others find worker 0; None if the topology has its address.

    Raises:
        UsageError, RunError: as `meet`.
    """
    listener.setblocking(False)
    if topology.is_chief:
        return await reception.receive(topology, own, listener, deadline)
    introduction = Introduction(topology, own, deadline, file)
    loop = asyncio.get_running_loop()
    loop.add_reader(listener, _close_arrivals, listener)
    try:
        while True:
            group = await introduction.hear_verdict(await introduction.find_chief())
            if group is not None:
                return group
    finally:
        loop.remove_reader(listener)
        listener.close()


def _close_arrivals(listener: socket.socket) -> None:
    """Closes connections to a worker other than worker 0, which are attempts to reach it."""
    with contextlib.suppress(OSError):  # there are no more
        for _ in range(ARRIVALS):
            listener.accept()[0].close()
