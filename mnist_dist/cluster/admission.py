"""Worker 0 admits the other workers of its run, and drops everybody else."""

import asyncio
from collections import Counter
from typing import Any

from mnist_dist.cluster import handshake, messages
from mnist_dist.cluster.address import is_loopback, join, split
from mnist_dist.cluster.deadline import Deadline, MeetingDeadline
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.cluster.peer import WORKERS_BYTES, Peer
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError, UsageError, listing

HANDSHAKE_S = 1.0  # from the connection to the whole handshake
MOST_STRANGERS = 512  # connections without a handshake at one time
DOUBLE_S = 0.5  # for an earlier connection of the same worker to turn out closed
MISFIT_S = 3.0  # for the other workers to come and hear what is wrong

MET = messages.pack({"met": True})
OTHER_RUN = messages.pack({"other": True})


class Admission:
    """Who has come, by the event loop's callbacks.

    Attributes:
        handshakes: of this worker and of all that were admitted, by rank.
        peers: the connections to the admitted workers, by rank.
        problem: what is wrong with the first worker of this run that doesn't fit.
    """

    def __init__(self, topology: Topology, own: Handshake, deadline: MeetingDeadline) -> None:
        self.handshakes = {0: own}
        self.peers = dict[int, Peer]()
        self.problem: UsageError | None = None
        self._topology, self._deadline = topology, deadline
        self._strangers = dict[Peer, Deadline]()  # the oldest first
        self._misfits = list[Peer]()
        self._doubles = set[Peer]()  # of a rank whose earlier connection may be closing

    @property
    def complete(self) -> bool:
        """Whether as many workers have come as the run has, and each is admitted or a misfit."""
        came = len(self.peers) + len(self._misfits)
        return not self._doubles and came >= self._topology.num_workers - 1

    def new_peer(self) -> Peer:
        """Returns the protocol of a new connection, for asyncio."""
        while len(self._strangers) >= MOST_STRANGERS:
            self._drop(next(iter(self._strangers)))
        peer = Peer(self._deadline.clock, self._on_handshake, self._on_close)
        self._strangers[peer] = Deadline(self._deadline.clock, HANDSHAKE_S)
        return peer

    def drop_silent(self) -> None:
        """Closes connections without a handshake in time."""
        while self._strangers:
            oldest, deadline = next(iter(self._strangers.items()))
            if deadline.left_s > 0:
                break
            self._drop(oldest)

    def drop_all(self) -> None:
        """Closes all connections that are neither of an admitted worker nor of a misfit."""
        for peer in list(self._strangers):
            self._drop(peer)
        for peer in self._doubles:
            peer.close(flush=False)

    def refuse(self, line: bytes) -> list[Peer]:
        """Sends a packed message to all workers of this run; returns their connections."""
        everyone = [*self.peers.values(), *self._misfits, *self._doubles]
        for peer in everyone:
            peer.send(line)
        return everyone

    @property
    def addresses(self) -> tuple[str, ...]:
        """host:port by rank of all workers, once all have come.

        Where not all addresses were known before, worker 0's is the one to which most workers of
        other hosts have come, or that of --interface. Workers of its own host, which may have come
        by loopback, get it too.
        """
        given = [self.handshakes[rank].address for rank in sorted(self.handshakes)]
        if self._topology.addresses_known:
            return tuple(given)
        peers = self.peers.values()
        remote = [peer for peer in peers if peer.host != peer.own_host]
        [(chief, _)] = Counter(peer.own_host for peer in remote or peers).most_common(1)
        found = [split(address) for address in given]
        if not self._topology.meets_by_file and found[0][0] != self._topology.host:
            chief = found[0][0]  # of --interface
        found[0] = (chief, found[0][1])
        return tuple(join(chief if is_loopback(host) else host, port) for host, port in found)

    def absence(self, seconds: float) -> RunError:
        """Returns the error for workers that haven't come after `seconds`."""
        return RunError(
            f"after {seconds:g} s {self.missing()} did not come; look into their logs, and "
            f"whether they can reach {self._topology.worker_name(0)}"
        )

    def missing(self) -> str:
        """Names the workers that haven't come."""
        everyone = range(self._topology.num_workers)
        missing = [rank for rank in everyone if rank not in self.handshakes]
        return listing([self._topology.worker_name(rank) for rank in missing])

    def _drop(self, stranger: Peer) -> None:
        del self._strangers[stranger]
        stranger.close(flush=False)

    def _on_handshake(self, peer: Peer, message: dict[str, Any]) -> None:
        ours = {"protocol": handshake.PROTOCOL, "token": self._topology.token}
        if any(message.get(name) != value for name, value in ours.items()):
            del self._strangers[peer]
            peer.send(OTHER_RUN)
            peer.close()
            return
        newcomer = handshake.read(message)
        del self._strangers[peer]
        peer.on_message = _unexpected
        peer.rank, peer.name = newcomer.rank, newcomer.name
        peer.most_bytes = WORKERS_BYTES
        peer.send(MET)
        if newcomer.rank in self.peers:  # that one may be closing at this moment
            self._doubles.add(peer)
            asyncio.get_running_loop().call_later(DOUBLE_S, self._judge, peer, newcomer)
        else:
            self._judge(peer, newcomer)

    def _judge(self, peer: Peer, newcomer: Handshake) -> None:
        self._doubles.discard(peer)
        if peer.closed:
            return
        problem = handshake.compare(self.handshakes, newcomer, self._topology.num_workers)
        if problem is None:
            # Equal fingerprints are kept once.
            fingerprints = self.handshakes[0].fingerprints
            self.handshakes[newcomer.rank] = newcomer._replace(fingerprints=fingerprints)
            self.peers[newcomer.rank] = peer
            return
        self._misfits.append(peer)
        if self.problem is None:
            self.problem = problem
            self._deadline.shorten(MISFIT_S)

    def _on_close(self, peer: Peer, problem: str) -> None:
        if problem:
            self._deadline.log(f"dropped a connection from {peer.host}: {problem}")
        self._strangers.pop(peer, None)
        if self.peers.get(peer.rank) is peer:  # it was ended, and may be started again
            del self.peers[peer.rank], self.handshakes[peer.rank]


def _unexpected(_peer: Peer, _message: dict[str, Any]) -> None:
    raise ValueError("a message before it was asked for")
