"""Who is still there: heartbeats between worker 0 and the others, and what each ends with.

When a worker is lost, TensorFlow's collectives wait for it, for long or for ever. So a thread
says who is gone, and at which step, and ends the process.
"""

import queue
import threading
from typing import Any

from mnist_dist import exits
from mnist_dist.cluster.peer import Deadline, Peer
from mnist_dist.errors import EXIT_FAILED, EXIT_USAGE, LONGEST, RunError, shorten

BEAT_S = 1.0
AFTER_S = 5.0
ENDS = (EXIT_FAILED, EXIT_USAGE)
NOTHING = object()  # no value came


class Meeting:
    """The workers of a run, met; worker 0 has a connection to each other, they have one to it.

    Attributes:
        workers: "host:port" by rank, as TensorFlow is to use them.
    """

    def __init__(
        self, workers: tuple[str, ...], rank: int, name: str, peers: dict[int, Peer]
    ) -> None:
        self.workers = workers
        self._rank = rank
        self._name = name
        self._peers = peers
        self._step = 0
        self._leaving = threading.Event()
        self._ending = threading.Lock()

    def watch(self, peer_timeout_s: float) -> None:
        """Begins to send and to expect heartbeats.

        Args:
            peer_timeout_s: silence after which a worker counts as lost.
        """
        self._peer_timeout_s = peer_timeout_s
        threads = [threading.Thread(target=self._beat, daemon=True, name="heartbeat")]
        for peer in self._peers.values():
            threads.append(
                threading.Thread(target=self._listen, args=(peer,), daemon=True, name="liveness")
            )
        for thread in threads:
            thread.start()

    def report_step(self, step: int) -> None:
        """Global steps that this worker has done; the others get to know it by heartbeat."""
        self._step = step

    def gather(self, value: Any, timeout_s: float) -> list[Any]:
        """Every worker's value (JSON), by rank, once all have given one: a barrier, too.

        Raises:
            RunError: a worker gave none within the time.
        """
        values = [value] * len(self.workers)
        for peer in self._peers.values():
            if self._rank:
                peer.send({"gather": value})
        # Worker 0 gives up first, since it knows who is missing.
        countdown = Deadline(timeout_s + (AFTER_S if self._rank else 0.0))
        for rank, peer in self._peers.items():
            word = _next(peer.words, countdown)
            if word is NOTHING:
                raise RunError(f"{self._name}: after {timeout_s:g} s no word from {peer.name}")
            values[rank] = word
            if self._rank:
                values = word
        if not self._rank:
            for peer in self._peers.values():
                peer.send({"gathered": values})
        return values

    def fail(self, message: str, usage: bool = False) -> None:
        """Tells the others why this worker ends; they end, too."""
        self._leaving.set()
        code = EXIT_USAGE if usage else EXIT_FAILED
        told = message if self._name in message else f"{self._name}: {message}"
        for peer in self._peers.values():
            peer.send({"lost": told, "code": code})

    def wait_for_cause(self, seconds: float) -> None:
        """Lets the listening threads end this process with the cause of a failure, if they know.

        TensorFlow may notice a lost worker a moment before they do, and can't name it.
        """
        threading.Event().wait(min(seconds, self._peer_timeout_s + 2 * BEAT_S))

    def goodbye(self) -> None:
        """Waits until all are done. Worker 0, which the others' TensorFlow talks to, leaves last.

        Raises:
            RunError: a worker isn't done within the time that `watch` was given.
        """
        self.gather("done", self._peer_timeout_s)
        self._leaving.set()
        if not self._rank:
            countdown = Deadline(self._peer_timeout_s)
            for peer in self._peers.values():
                while not peer.gone.wait(countdown.slice()) and countdown.left() > 0:
                    pass

    def _beat(self) -> None:
        while not self._leaving.wait(BEAT_S):
            for peer in self._peers.values():
                peer.send({"beat": self._step})

    def _listen(self, peer: Peer) -> None:
        try:
            while True:
                self._hear(peer, peer.receive(self._peer_timeout_s))
        except TimeoutError:
            silence = f"fell silent {self._peer_timeout_s:g} s ago, at step {peer.step}"
            self._end(peer, f"{peer.name} {silence}", EXIT_FAILED)
        except OSError:
            peer.gone.set()
            self._end(peer, f"{peer.name} is gone (last heard of at step {peer.step})", EXIT_FAILED)
        except ValueError as error:
            peer.gone.set()
            self._end(peer, f"{peer.name} sent what is no message: {error}", EXIT_FAILED)

    def _hear(self, peer: Peer, word: dict[str, Any]) -> None:
        """One message. Raises ValueError where it has what none of ours has."""
        if type(word.get("beat", 0)) is not int:
            raise ValueError("a beat that isn't a step")
        peer.step = word.get("beat", peer.step)
        if "lost" in word:
            if not isinstance(word["lost"], str) or word.get("code") not in ENDS:
                raise ValueError("a loss without a cause")
            self._end(peer, word["lost"], word["code"])
        if "gather" in word and not self._rank:
            peer.words.put(word["gather"])
        if "gathered" in word and self._rank:
            if not isinstance(word["gathered"], list) or len(word["gathered"]) != len(self.workers):
                raise ValueError("other values than one of each worker")
            peer.words.put(word["gathered"])

    def _end(self, source: Peer, message: str, code: int) -> None:
        """Ends this process because of a peer, unless it is leaving itself."""
        if self._leaving.is_set() or not self._ending.acquire(blocking=False):
            return
        for peer in self._peers.values():
            if peer is not source:
                peer.send({"lost": message, "code": code})
        line = shorten(f"{self._name}, step {self._step}: {message}", LONGEST)
        # The main thread may hang in a collective, which nothing interrupts.
        exits.leave(code, f"mnist_dist: {line}")


def _next(words: "queue.Queue[Any]", countdown: Deadline) -> Any:
    """The next value, or NOTHING."""
    while True:
        try:
            return words.get(timeout=countdown.slice())
        except queue.Empty:
            if countdown.left() <= 0:
                return NOTHING
