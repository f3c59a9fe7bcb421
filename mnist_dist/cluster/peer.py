"""A connection to another worker, or to who knows whom: JSON objects, one a line."""

import contextlib
import json
import queue
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from mnist_dist import bounded

STRANGERS_BYTES = 2**20  # of a line; a hello has some kilobytes, and its flags may be long
WORKERS_BYTES = 2**26  # the values of 10,000 workers, together
SLICE_S = 0.5
SEND_S = 10.0


class Deadline:
    """Seconds to wait that pass only while this process runs.

    A process that was stopped (`scontrol suspend`, SIGSTOP, a debugger) has heard nobody
    meanwhile: that is no silence of theirs. Ask `left` at least once a slice.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._seen = time.monotonic()

    def left(self, most_s: float = 2 * SLICE_S) -> float:
        """What is left, in seconds; more than `most_s` since the last question is a suspension."""
        now = time.monotonic()
        self._left -= min(now - self._seen, most_s)
        self._seen = now
        return self._left

    def slice(self) -> float:
        """How long to wait before `left` is asked again."""
        return min(max(self._left, 0.01), SLICE_S)


class Peer:
    """The other end.

    Attributes:
        name: for messages, once it is known.
        step: it has told that it has done.
        words: values that it has given to `gather`.
        gone: it has closed the connection.
        most_bytes: of a line; little until it is known that the other end is a worker.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.name = ""
        self.step = 0
        self.words: queue.Queue[Any] = queue.Queue()
        self.gone = threading.Event()
        self.most_bytes = STRANGERS_BYTES
        self._socket = connection
        self._socket.settimeout(SEND_S)
        self._received = bytearray()
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        self._sending = threading.Lock()

    def send(self, word: Mapping[str, Any]) -> None:
        """Sends; a peer that is gone is noticed by who listens to it."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall((json.dumps(word) + "\n").encode())

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next word.

        Raises:
            ConnectionError: the other side has closed.
            TimeoutError: the word wasn't whole within `timeout_s`.
            ValueError: what came is no word.
        """
        countdown = Deadline(timeout_s)
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > self.most_bytes:
                raise ValueError(f"a line of more than {self.most_bytes:,} bytes")
            if self._readable.poll(1000 * countdown.slice()):
                part = self._socket.recv(2**16)
                if not part:
                    raise ConnectionResetError("closed")
                self._received += part
            if countdown.left() <= 0:
                raise TimeoutError(f"no word within {timeout_s:g} s")
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        word = bounded.loads(line.decode())
        if not isinstance(word, dict):
            raise ValueError("a line that isn't a JSON object")
        return word

    def is_gone(self) -> bool:
        """Whether the other side has closed, asked at a time when it has nothing to say."""
        try:
            return bool(self._readable.poll(0)) and not self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()
