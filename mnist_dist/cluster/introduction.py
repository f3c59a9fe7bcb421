"""A worker finds worker 0, introduces itself, and gets the verdict on all workers."""

import asyncio
import random
import socket
from pathlib import Path

from mnist_dist.cluster import addresses, meeting_file, messages, ports, reachability
from mnist_dist.cluster.address import join
from mnist_dist.cluster.admission import MISFIT_S
from mnist_dist.cluster.connecting import connect
from mnist_dist.cluster.deadline import RETRY_S, MeetingDeadline
from mnist_dist.cluster.group import Group
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.cluster.peer import WORKERS_BYTES, Inbox, Peer
from mnist_dist.cluster.topology import TOKEN, Topology
from mnist_dist.errors import RunError, UsageError

FIRST_CONNECT_S = 0.5
CONNECT_S = 2.0
ANSWER_S = 3.0  # for the first answer; doubled with each attempt up to LONGEST_ANSWER_S
LONGEST_ANSWER_S = 30.0
LONGEST_RETRY_S = 1.0
ARRIVALS_PER_S = 2000  # at worker 0, whose accept queue may be short (net.core.somaxconn)

_jitter = random.SystemRandom()  # not the seeded generator, which belongs to the user


class Introduction:
    """A worker's side of the meeting.

    Args:
        topology: of several workers, this one not worker 0.
        own: what this worker says of itself; an address without a host becomes that from which
            it reaches worker 0.
        deadline: until which all have to meet.
        file: by which worker 0 is found; None if the topology has its address.
    """

    def __init__(
        self,
        topology: Topology,
        own: Handshake,
        deadline: MeetingDeadline,
        file: Path | None = None,
    ) -> None:
        self._topology, self._own, self._deadline = topology, own, deadline
        self._file, self._token = file, topology.token
        self._inbox = Inbox()
        self._reached = set[str]()  # addresses at which worker 0 or another worker answered
        self._targets = reachability.targets(topology.num_workers, own.rank, topology.token)
        self._chief = topology.worker_name(0)
        self._advice = "look into its log, and whether this host can reach it"
        self._seen = f"{self._chief} did not answer; {self._advice}"

    async def find_chief(self) -> Peer:
        """Returns the connection on which worker 0 has answered.

        Raises:
            RunError: none did in time; the message says what was seen.
        """
        deadline, answer_s, retry_s = self._deadline, ANSWER_S, RETRY_S
        arrival_s = self._topology.num_workers / ARRIVALS_PER_S
        # The first attempt is made at once: a late worker is all that the others wait for. If all
        # start at one moment, the accept queue drops most of them, and they come again, spread.
        connect_s, spread_s = FIRST_CONNECT_S, _jitter.uniform(0, arrival_s)
        while not deadline.over(self._chief):
            peer, unknown = await self._attempt(connect_s, answer_s)
            if peer is not None:
                return peer
            if unknown:
                await deadline.wait_for_name("worker 0", *unknown)
            pause_s = spread_s + _jitter.uniform(0.5, 1.0) * retry_s
            await deadline.pause(pause_s, self._chief)
            connect_s, spread_s = CONNECT_S, 0.0
            answer_s = min(2 * answer_s, LONGEST_ANSWER_S)
            retry_s = min(1.5 * retry_s, max(LONGEST_RETRY_S, arrival_s))
        raise RunError(f"{self._own.name}: after {deadline.seconds:g} s {self._seen}")

    async def _attempt(
        self, connect_s: float, answer_s: float
    ) -> tuple[Peer | None, tuple[str, socket.gaierror] | None]:
        """Tries each address of worker 0 once.

        Args:
            connect_s: for each connection.
            answer_s: for each answer.

        Returns:
            The connection on which worker 0 has answered, or None; and the last name that isn't
            known yet, with the error, or None.

        Raises:
            RunError: worker 0's host can't be a host name.
        """
        unknown: tuple[str, socket.gaierror] | None = None
        for host, port in self._candidates():
            if unknown and unknown[0] == host:
                continue
            try:
                peer = await self._introduce(host, port, connect_s, answer_s)
            except socket.gaierror as error:
                self._seen = (
                    f"host '{host}' of worker 0 can't be found ({error.strerror}); check its name"
                )
                unknown = host, error
                continue
            except UnicodeError as error:  # such as a label of over 63 characters
                raise RunError(f"{self._own.name}: host '{host}' of worker 0: {error}") from error
            if peer is not None:
                self._reached.add(join(host, port))
                return peer, None
        return None, unknown

    def _candidates(self) -> list[tuple[str, int]]:
        """Returns (host, port) of each address at which worker 0 may be."""
        if self._file is None:
            return ports.candidates(self._topology, 0)
        try:
            found = meeting_file.read(self._file)
        except FileNotFoundError:
            self._seen = (
                f"there is no {self._file} of worker 0; look into its log, and whether all hosts "
                "share that folder (--run_dir), or set MASTER_ADDR and MASTER_PORT"
            )
            return []
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._seen = f"{self._file} {reason}; delete it, or give another --run_dir"
            return []
        self._token = found.token
        return [(address, found.port) for address in found.addresses]

    async def hear_verdict(self, chief: Peer) -> Group | None:
        """Does what worker 0 says until the verdict.

        Returns:
            The workers; None if worker 0 has left, and may be found anew by its file: it was of
            another start of the run, or is started again.

        Raises:
            UsageError, RunError: the verdict is an error, or worker 0 has left.
        """
        actual: tuple[str, ...] | None = None
        more_s = reachability.TRY_S + MISFIT_S
        early = asyncio.create_task(
            reachability.try_early(self._topology.workers, self._targets, self._reached)
        )
        try:
            while True:
                message = await self._deadline.within(
                    self._inbox.receive(), "the other workers", more_s
                )
                if "error" in message:
                    raise (UsageError if message.get("usage") else RunError)(str(message["error"]))
                if "try" in message:
                    early.cancel()
                    actual = addresses.read(message["try"], self._topology.workers)
                    failed = await self._failures(actual)
                    chief.send(messages.pack({"tried": failed}))
                elif actual is None or not isinstance(message.get("host"), str):
                    raise ValueError("a verdict before the addresses")
                else:
                    return self._group(actual, chief, message["host"])
        except (OSError, ValueError) as error:
            if self._file is not None and actual is None and self._deadline.left_s > 0:
                return None
            raise RunError(
                f"{self._own.name}: {self._chief} left before all workers had met; "
                "look into its log"
            ) from error
        finally:
            early.cancel()

    async def _introduce(
        self, host: str, port: int, connect_s: float, answer_s: float
    ) -> Peer | None:
        """One attempt; None if worker 0 doesn't answer there. Raises gaierror and UnicodeError."""
        clock, inbox = self._deadline.clock, Inbox()
        peer = Peer(clock, inbox.on_message, inbox.on_close)
        admitted = False
        try:
            await self._deadline.within(self._connect(peer, host, port, connect_s), self._chief)
            answer = await self._deadline.within(
                asyncio.wait_for(inbox.receive(), answer_s), self._chief
            )
            admitted = answer == {"met": True}
            if answer == {"other": True}:
                other = f"another run listens on port {port}, or has another {TOKEN}"
                self._seen = f"{self._chief} did not answer; {other}; {self._advice}"
        except (socket.gaierror, UnicodeError):
            raise
        except (OSError, ValueError):  # not there yet, or something else
            pass
        finally:
            if not admitted:
                peer.close(flush=False)
        if not admitted:
            return None
        peer.most_bytes = WORKERS_BYTES
        self._inbox = inbox
        return peer

    async def _connect(self, peer: Peer, host: str, port: int, connect_s: float) -> None:
        """Connects a peer to an address and sends the introduction."""
        connection = await connect(host, port, connect_s)
        own = self._own
        if own.address.startswith(":"):
            own = own._replace(address=join(connection.getsockname()[0], int(own.address[1:])))
        packed = messages.pack(own.message(self._token))
        # At once, since worker 0 waits for a second only and this process may be busy.
        sent = connection.send(packed)
        await asyncio.get_running_loop().create_connection(lambda: peer, sock=connection)
        peer.send(packed[sent:])

    async def _failures(self, actual: tuple[str, ...]) -> dict[int, str]:
        others = [rank for rank in self._targets if actual[rank] not in self._reached]
        return await self._deadline.within(
            reachability.failures(actual, others, self._deadline),
            "the other workers",
            reachability.TRY_S,
        )

    def _group(self, actual: tuple[str, ...], chief: Peer, host: str) -> Group:
        chief.rank, chief.name = 0, f"worker 0 (host {host})"
        group = Group(actual, self._own.rank, self._own.name, {0: chief}, self._deadline.clock)
        self._inbox.hand_over(chief)
        return group
