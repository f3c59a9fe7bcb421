"""Worker 0's side of the meeting: it waits for all, has them try to reach each other, decides."""

import asyncio
import socket
from typing import Any

from mnist_dist.cluster import messages, reachability
from mnist_dist.cluster.addresses import changes, read_rank
from mnist_dist.cluster.admission import Admission
from mnist_dist.cluster.deadline import Deadline, MeetingDeadline
from mnist_dist.cluster.group import PARTING_S, Group
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.cluster.peer import Peer, send_to_all
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError, UsageError

BACKLOG = 4096  # of the accept queue; the kernel takes net.core.somaxconn if that is less
# Connections accepted in one round of the event loop. Each is read three rounds later, and until
# then fewer than MOST_STRANGERS must come, so that no worker's introduction is dropped unread.
ACCEPTED = 64
LOOK_S = 0.05
SETTLE_S = 0.05  # for connections that are closing to turn out closed


async def receive(
    topology: Topology, own: Handshake, listener: socket.socket, deadline: MeetingDeadline
) -> Group:
    """Admits the other workers, and sends them the verdict.

    Args, Raises: as `rendezvous`.
    """
    admission = Admission(topology, own, deadline)
    server = await asyncio.get_running_loop().create_server(
        admission.new_peer, sock=listener, backlog=ACCEPTED
    )
    listener.listen(BACKLOG)  # asyncio takes its `backlog` for both
    try:
        problem = await _wait_for_all(admission, deadline)
        if problem is None:
            problem = await _Trial(topology, admission, deadline).run() or admission.problem
        if problem is not None:
            usage = isinstance(problem, UsageError)
            peers = admission.refuse(messages.pack({"error": str(problem), "usage": usage}))
            end = Deadline(deadline.clock, PARTING_S)
            while end.left_s > 0 and not all(peer.closed for peer in peers):
                await asyncio.sleep(LOOK_S)
            raise problem
        group = Group(admission.addresses, 0, own.name, admission.peers, deadline.clock)
        await send_to_all(admission.peers.values(), messages.pack({"host": own.host}))
        return group
    finally:
        server.close()
        admission.drop_all()


async def _wait_for_all(
    admission: Admission, deadline: MeetingDeadline
) -> UsageError | RunError | None:
    """Returns what is wrong once all have come or the time is over."""
    while True:
        admission.drop_silent()
        if admission.complete:
            await asyncio.sleep(SETTLE_S)
            if admission.complete:
                return admission.problem
        if deadline.over(admission.missing()):
            return admission.problem or admission.absence(deadline.seconds)
        await asyncio.sleep(LOOK_S)


class _Trial:
    """Every worker tries to reach a few others.

    Args:
        topology: that worker 0 was started with.
        admission: all workers.
        deadline: of the meeting.
    """

    def __init__(self, topology: Topology, admission: Admission, deadline: MeetingDeadline) -> None:
        self._topology, self._deadline = topology, deadline
        self._workers, self._peers = dict(admission.handshakes), dict(admission.peers)
        self._addresses = admission.addresses
        self._failed = dict[int, dict[int, str]]()  # rank -> rank it can't reach -> why

    async def run(self) -> RunError | None:
        """Returns who can't reach whom, or who has left meanwhile."""
        for peer in self._peers.values():
            peer.on_message = self._on_tried
        by_topology = dict[str, list[Peer]]()
        for rank, peer in self._peers.items():
            by_topology.setdefault(self._workers[rank].topology, []).append(peer)
        for digest, peers in by_topology.items():
            given = self._topology.workers if digest == self._workers[0].topology else None
            line = messages.pack({"try": changes(self._addresses, given)})
            await send_to_all(peers, line)
        tried = reachability.targets(len(self._addresses), 0, self._topology.token)
        failed = await self._deadline.within(
            reachability.failures(self._addresses, tried, self._deadline),
            "the other workers",
            reachability.TRY_S,
        )
        absent = await self._answers()
        if absent is not None:
            return absent
        text = reachability.describe({0: failed, **self._failed}, self._workers)
        return RunError(text) if text else None

    async def _answers(self) -> RunError | None:
        """Waits for all answers; the error names the worker that gives none."""
        end = Deadline(self._deadline.clock, self._deadline.left_s + reachability.TRY_S)
        while len(self._failed) < len(self._peers):
            silent = [rank for rank in self._peers if rank not in self._failed]
            gone = [rank for rank in silent if self._peers[rank].closed]
            if gone:  # the others can't reach it either, and this is why
                name = self._workers[gone[0]].name
                return RunError(f"{name} came, but then was gone; look into its log")
            if end.left_s <= 0:
                name = self._workers[silent[0]].name
                return RunError(f"{name} came, but then fell silent; look into its log")
            self._deadline.over(f"worker {silent[0]}")
            await asyncio.sleep(LOOK_S)
        return None

    def _on_tried(self, peer: Peer, message: dict[str, Any]) -> None:
        reasons = message.get("tried")
        if peer.rank in self._failed or not isinstance(reasons, dict):
            raise ValueError("something else than the result of its attempts")
        number = len(self._addresses)
        self._failed[peer.rank] = {read_rank(r, number): str(why) for r, why in reasons.items()}
