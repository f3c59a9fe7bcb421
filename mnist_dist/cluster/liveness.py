"""Who is still there: heartbeats between worker 0 and the others, and what each ends with.

When a worker is lost, TensorFlow's collectives wait for it, for long or for ever. So a thread
says who is gone, and at which step, and ends the process.
"""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from mnist_dist.errors import EXIT_FAILED, EXIT_USAGE, RunError

BEAT_S = 1.0
AFTER_S = 5.0


class Peer:
    """A connection that carries one JSON value a line."""

    def __init__(self, connection: socket.socket) -> None:
        self.name = ""
        self.step = 0
        self.words: queue.Queue[Any] = queue.Queue()
        self.gone = threading.Event()
        self._socket = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self._sending = threading.Lock()

    def send(self, word: Mapping[str, Any]) -> None:
        """Sends; a peer that is gone is noticed by who listens to it."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall((json.dumps(word) + "\n").encode())

    def receive(self) -> Any:
        """The next word. Raises ConnectionError at the end, TimeoutError after `timeout`."""
        line = self._lines.readline()
        if not line:
            raise ConnectionResetError("closed")
        return json.loads(line)

    def timeout(self, seconds: float) -> None:
        """How long `receive` waits."""
        self._socket.settimeout(seconds)

    def is_gone(self) -> bool:
        """Whether the other side has closed, asked at a time when it has nothing to say."""
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Closes the connection."""
        self._lines.close()
        self._socket.close()


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
            peer.timeout(peer_timeout_s)
            threads.append(
                threading.Thread(target=self._listen, args=(peer,), daemon=True, name="liveness")
            )
        for thread in threads:
            thread.start()

    def at_step(self, step: int) -> None:
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
        deadline = time.monotonic() + timeout_s + (AFTER_S if self._rank else 0.0)
        for rank, peer in self._peers.items():
            try:
                word = peer.words.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty as error:
                raise RunError(
                    f"{self._name}: after {timeout_s:g} s no word from {peer.name}"
                ) from error
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
            deadline = time.monotonic() + self._peer_timeout_s
            for peer in self._peers.values():
                peer.gone.wait(max(deadline - time.monotonic(), 0.01))

    def _beat(self) -> None:
        while not self._leaving.wait(BEAT_S):
            for peer in self._peers.values():
                peer.send({"beat": self._step})

    def _listen(self, peer: Peer) -> None:
        try:
            while True:
                word = peer.receive()
                peer.step = word.get("beat", peer.step)
                if "lost" in word:
                    self._end(peer, word["lost"], word["code"])
                for kind in ("gather", "gathered"):
                    if kind in word:
                        peer.words.put(word[kind])
        except TimeoutError:
            silence = f"fell silent {self._peer_timeout_s:g} s ago, at step {peer.step}"
            self._end(peer, f"{peer.name} {silence}", EXIT_FAILED)
        except (OSError, ValueError):
            peer.gone.set()
            self._end(peer, f"{peer.name} is gone (last heard of at step {peer.step})", EXIT_FAILED)

    def _end(self, source: Peer, message: str, code: int) -> None:
        """Ends this process because of a peer, unless it is leaving itself."""
        if self._leaving.is_set() or not self._ending.acquire(blocking=False):
            return
        for peer in self._peers.values():
            if peer is not source:
                peer.send({"lost": message, "code": code})
        sys.stdout.flush()
        print(
            f"mnist_dist: {self._name}, step {self._step}: {message}", file=sys.stderr, flush=True
        )
        os._exit(code)  # the main thread may hang in a collective, which nothing interrupts
