"""Messages to many workers: what a slow network hasn't taken is bounded."""

import asyncio
import socket

from mnist_dist.cluster import peer as peers
from mnist_dist.cluster.deadline import Clock
from mnist_dist.cluster.peer import Peer, send_to_all

LINE = b"x" * 2**23 + b"\n"


def nothing(*_):
    pass


async def connected(count):
    """Peers, and the other ends of their connections, which nobody reads."""
    found = []
    for _ in range(count):
        here, there = socket.socketpair()
        peer = Peer(Clock(), nothing, nothing)
        await asyncio.get_running_loop().create_connection(lambda peer=peer: peer, sock=here)
        there.setblocking(False)
        found.append((peer, there))
    return found


async def read(there):
    loop, size = asyncio.get_running_loop(), 0
    while size < len(LINE):
        size += len(await loop.sock_recv(there, 2**20))


def test_a_long_message_waits_for_the_slow(monkeypatch):
    """With room for two messages of 8 MB, the fifth worker's isn't sent before others have read."""
    monkeypatch.setattr(peers, "MOST_BUFFERED_BYTES", 2 * len(LINE))

    async def run():
        ends = await connected(5)
        sending = asyncio.get_running_loop().create_task(
            send_to_all([peer for peer, _ in ends], LINE)
        )
        await asyncio.sleep(0)  # it runs until it has to wait
        waiting = [peer.buffered_bytes > 0 for peer, _ in ends]
        for _, there in ends:
            await read(there)
        await asyncio.wait_for(sending, 60)
        for peer, there in ends:
            peer.close(flush=False)
            there.close()
        return waiting, [peer.buffered_bytes for peer, _ in ends]

    waiting, after = asyncio.run(run())
    assert waiting == [True] * 3 + [False] * 2
    assert after == [0] * 5
