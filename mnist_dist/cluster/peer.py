"""A connection to another worker, or to a stranger."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, cast

from mnist_dist.cluster import messages
from mnist_dist.cluster.deadline import Clock

STRANGERS_BYTES = 2**17  # of a line; a hello has some kilobytes
WORKERS_BYTES = 2**26  # the values of 10,000 workers together
MOST_BUFFERED_BYTES = 2**25  # of one message to many workers
DRAIN_S = 0.005


class Peer(asyncio.Protocol):
    """The other end of a connection. For the event loop's thread only.

    Args:
        clock: measures when the other end was heard.
        on_message: called with this peer and each message; a ValueError that it raises closes the
            connection.
        on_close: called once when the other end has closed, with this peer and "", or with the
            reason why what it sent isn't a message. Not called after `close`.

    Attributes:
        on_message, on_close: the arguments; they may be replaced.
        rank: the worker's number, once known.
        name: the worker's name for messages, once known.
        step: the last global step that it reported.
        heard_s: reading of the clock when something last came.
        most_bytes: longest line that it may send; short until it is known to be a worker.
        host: its address.
        own_host: this end's address.
        closed: whether one of the two ends has closed.
    """

    def __init__(
        self,
        clock: Clock,
        on_message: Callable[["Peer", dict[str, Any]], None],
        on_close: Callable[["Peer", str], None],
    ) -> None:
        self.on_message, self.on_close = on_message, on_close
        self.rank, self.name, self.step = -1, "", 0
        self.host, self.own_host = "", ""
        self.heard_s = clock.seconds
        self.most_bytes = STRANGERS_BYTES
        self.closed = False
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._searched = 0  # bytes of it that hold no newline

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        if self.closed:
            self._transport.abort()
        host, *_ = self._transport.get_extra_info("peername") or ("",)
        self.host = host.removeprefix("::ffff:")
        own, *_ = self._transport.get_extra_info("sockname") or ("",)
        self.own_host = own.removeprefix("::ffff:")

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self.heard_s = self._clock.seconds
        self._received += data
        try:
            while not self.closed and (end := self._received.find(b"\n", self._searched)) >= 0:
                self._bound(end)
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                self._searched = 0
                self.on_message(self, messages.unpack(line, self.most_bytes))
            self._bound(len(self._received))
            self._searched = len(self._received)
        except ValueError as error:
            self._end(str(error))

    def connection_lost(self, _exc: Exception | None) -> None:
        """Called by asyncio."""
        self._end("")

    def send(self, line: bytes) -> None:
        """Sends a packed message. To a peer that has closed, nothing is sent."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the network hasn't taken yet."""
        if self.closed or self._transport is None:
            return 0
        return self._transport.get_write_buffer_size()

    def close(self, flush: bool = True) -> None:
        """Closes the connection.

        Args:
            flush: send first what is buffered.
        """
        self.closed = True
        if self._transport is not None:
            (self._transport.close if flush else self._transport.abort)()

    def _bound(self, line_bytes: int) -> None:
        if line_bytes > self.most_bytes:
            raise ValueError(f"a line of more than {self.most_bytes:,} bytes")

    def _end(self, problem: str) -> None:
        if not self.closed:
            self.close(flush=False)
            self.on_close(self, problem)


class Inbox:
    """Takes a peer's messages, to be awaited one after another."""

    def __init__(self) -> None:
        self._queue = asyncio.Queue[dict[str, Any] | str]()

    def on_message(self, _peer: Peer, message: dict[str, Any]) -> None:
        """For `Peer`."""
        self._queue.put_nowait(message)

    def on_close(self, _peer: Peer, problem: str) -> None:
        """For `Peer`."""
        self._queue.put_nowait(problem)

    async def receive(self) -> dict[str, Any]:
        """Returns the next message.

        Raises:
            ConnectionError: the other end has closed.
            ValueError: what came isn't a message.
        """
        message = await self._queue.get()
        if isinstance(message, dict):
            return message
        if message:
            raise ValueError(message)
        raise ConnectionResetError("closed")

    def hand_over(self, peer: Peer) -> None:
        """Passes what has come meanwhile to the peer's new `on_message` and `on_close`."""
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                message = self._queue.get_nowait()
                if isinstance(message, dict):
                    peer.on_message(peer, message)
                else:
                    peer.on_close(peer, message)


async def send_to_all(peers: Iterable[Peer], line: bytes) -> None:
    """Sends one packed message to many peers, and buffers at most MOST_BUFFERED_BYTES of it."""
    behind = list[Peer]()
    for peer in peers:
        peer.send(line)
        if peer.buffered_bytes:
            behind.append(peer)
        while len(behind) * len(line) > MOST_BUFFERED_BYTES:
            behind = [peer for peer in behind if peer.buffered_bytes]
            await asyncio.sleep(DRAIN_S)
