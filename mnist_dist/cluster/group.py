"""The workers after they have met: heartbeats, values for all, and news of a loss.

Worker 0 has a connection to each other worker, and they have one to it. For the event loop's
thread only.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any

from mnist_dist.cluster import messages
from mnist_dist.cluster.deadline import TICK_S, Clock, Deadline
from mnist_dist.cluster.peer import Peer, send_to_all
from mnist_dist.errors import EXIT_FAILED, EXIT_USAGE, RunError, listing

BEAT_S = 1.0
BEATS_PER_S = 1000  # that worker 0 hears from all workers together, at most
BEATS_PER_TIMEOUT = 3
BATCH = 64  # workers to which worker 0 sends a heartbeat at one time
AFTER_S = 5.0  # that worker 0 gives up earlier than the others, since it knows who is missing
PARTING_S = 1.0  # for the others to hear of a loss before this process ends

_jitter = random.SystemRandom()  # not the seeded generator, which belongs to the user


class Group:
    """The connections of a worker to the others.

    Args:
        workers: host:port by rank, as TensorFlow is to use them.
        rank: this worker's.
        name: this worker's, for messages.
        peers: the connections, by rank of the other end.
        clock: of the event loop.

    Attributes:
        workers, name: the arguments.
        step: the last global step of this worker, which heartbeats report.
        loss: becomes (message, exit code) when a worker is lost.
    """

    def __init__(
        self,
        workers: tuple[str, ...],
        rank: int,
        name: str,
        peers: dict[int, Peer],
        clock: Clock,
    ) -> None:
        self.workers, self.name, self.step = workers, name, 0
        self.loss: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._rank, self._peers, self._clock = rank, peers, clock
        self._leaving = False
        self._values = dict[int, Any]()  # on worker 0: of this exchange, by rank
        self._received: asyncio.Future[Any] | None = None  # the end of this exchange
        self._tasks = list[asyncio.Task[None]]()
        for peer in peers.values():
            peer.on_message, peer.on_close = self._on_message, self._on_close

    @property
    def is_chief(self) -> bool:
        """Whether this is worker 0."""
        return self._rank == 0

    def watch(self, peer_timeout_s: float) -> None:
        """Starts to send and to expect heartbeats.

        Args:
            peer_timeout_s: silence after which a worker counts as lost.
        """
        for peer in self._peers.values():
            peer.heard_s = self._clock.seconds
        interval_s = max(BEAT_S, len(self.workers) / BEATS_PER_S)
        self._start(self._beat(min(interval_s, peer_timeout_s / BEATS_PER_TIMEOUT)))
        self._start(self._find_silent(peer_timeout_s))

    async def exchange(
        self, value: Any, combine: Callable[[list[Any]], Any], timeout_s: float, last: bool = False
    ) -> Any:
        """Worker 0 combines the values of all workers; all get the result.

        Args:
            value: this worker's (JSON).
            combine: from the values by rank to the result (JSON), on worker 0.
            timeout_s: for all values to come.
            last: nothing follows; from now on a closed connection isn't a loss.

        Raises:
            RunError: a value didn't come in time.
        """
        self._received = asyncio.get_running_loop().create_future()
        if self._rank:
            self._peers[0].send(messages.pack({"value": value}))
            timeout_s += AFTER_S
        self._check_complete()
        if await Deadline(self._clock, timeout_s).reached_before(self._received):
            raise RunError(f"{self.name}: after {timeout_s:g} s no word from {self._missing()}")
        self._leaving = self._leaving or last
        if self._rank:
            return self._received.result()
        values = [value if rank == 0 else self._values[rank] for rank in range(len(self.workers))]
        self._values, self._received = {}, None
        result = combine(values)
        await send_to_all(self._peers.values(), messages.pack({"result": result}))
        return result

    async def fail(self, message: str, code: int) -> None:
        """Tells the others why this worker ends, and gives them a moment to hear it."""
        if self.loss.done():  # this process is about to be ended, by the first cause
            await asyncio.Event().wait()
        self._leaving = True
        self._tell(message if self.name in message else f"{self.name}: {message}", code, None)
        await self.parted(PARTING_S)

    async def parted(self, seconds: float) -> None:
        """Waits until all others have closed their connections, at most `seconds`."""
        deadline = Deadline(self._clock, seconds)
        while deadline.left_s > 0 and not all(peer.closed for peer in self._peers.values()):
            await asyncio.sleep(TICK_S / 10)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._lose(None, f"{self.name}: can't watch: {task.exception()!r}", EXIT_FAILED)

        self._tasks.append(asyncio.get_running_loop().create_task(coroutine))
        self._tasks[-1].add_done_callback(ended)

    async def _beat(self, interval_s: float) -> None:
        """Heartbeats, spread over the interval, so that they don't come all at one moment."""
        peers = list(self._peers.values())
        batches = [peers[first : first + BATCH] for first in range(0, len(peers), BATCH)]
        await asyncio.sleep(_jitter.uniform(0, interval_s))
        for batch in itertools.cycle(batches):
            if self._leaving:
                break
            line = messages.pack({"beat": self.step})
            for peer in batch:
                peer.send(line)
            await asyncio.sleep(interval_s / len(batches))

    async def _find_silent(self, timeout_s: float) -> None:
        while not self._leaving:
            silence_s = 0.0  # the longest
            for peer in self._peers.values():
                silence_s = max(silence_s, self._clock.seconds - peer.heard_s)
                if self._clock.seconds - peer.heard_s > timeout_s:
                    silence = f"fell silent {timeout_s:g} s ago, at step {peer.step}"
                    self._lose(peer, f"{peer.name} {silence}", EXIT_FAILED)
            # Nobody can be silent for too long before then.
            await asyncio.sleep(max(timeout_s - silence_s, TICK_S))

    def _on_message(self, peer: Peer, message: dict[str, Any]) -> None:
        """One message. Raises ValueError for what isn't one of ours."""
        if type(message.get("beat", 0)) is not int:
            raise ValueError("a beat that isn't a step")
        peer.step = message.get("beat", peer.step)
        if "lost" in message:
            if not isinstance(message["lost"], str) or message.get("code") not in (
                EXIT_FAILED,
                EXIT_USAGE,
            ):
                raise ValueError("a loss without a cause")
            self._lose(peer, message["lost"], message["code"])
        if "value" in message and not self._rank:
            if peer.rank in self._values:
                raise ValueError("two values in one exchange")
            self._values[peer.rank] = message["value"]
            self._check_complete()
        if "result" in message and self._rank:
            if self._received is None or self._received.done():
                raise ValueError("a result that nobody asked for")
            self._received.set_result(message["result"])

    def _check_complete(self) -> None:
        """On worker 0: ends the wait for values if all have come."""
        if self._received is None or self._received.done():
            return
        if self.is_chief and len(self._values) == len(self._peers):
            self._received.set_result(None)

    def _missing(self) -> str:
        return listing([p.name for rank, p in self._peers.items() if rank not in self._values])

    def _on_close(self, peer: Peer, problem: str) -> None:
        if problem:
            self._lose(peer, f"{peer.name} sent what is no message: {problem}", EXIT_FAILED)
        else:
            gone = f"is gone (last heard of at step {peer.step})"
            self._lose(peer, f"{peer.name} {gone}", EXIT_FAILED)

    def _lose(self, source: Peer | None, message: str, code: int) -> None:
        """A worker is lost: tells the others and this process, unless it is leaving."""
        if source is not None:
            source.close()
        if self._leaving or self.loss.done():
            return
        self._tell(message, code, source)
        self.loss.set_result((message, code))

    def _tell(self, message: str, code: int, source: Peer | None) -> None:
        line = messages.pack({"lost": message, "code": code})
        for peer in self._peers.values():
            if peer is not source:
                peer.send(line)
