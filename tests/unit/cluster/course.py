"""A meeting for the tests: all workers in one event loop and in virtual time, over real sockets."""

import asyncio
import contextlib
import json
import socket

import pytest

from mnist_dist.cluster import ports
from mnist_dist.cluster.deadline import MeetingDeadline
from mnist_dist.cluster.handshake import Handshake, digest
from mnist_dist.cluster.rendezvous import rendezvous
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError
from tests.unit.cluster import virtual_time
from tests.unit.cluster.virtual_time import Clock, now

TOKEN = "run-a"


class Workers:
    """Those of a run: where they listen, and how they meet or are played by a test."""

    def __init__(self, size, absent=()):
        self.clock, self.tasks, self.opened = Clock(), [], []
        self.listeners = [ports.listen(0, 64, "127.0.0.1") for _ in range(size)]
        for rank in absent:
            self.listeners[rank].close()
            self.listeners[rank] = socket.socket(proto=socket.IPPROTO_TCP)
            self.listeners[rank].bind(("127.0.0.1", 0))
        self.addresses = tuple(map(_address, self.listeners))

    def listens_anew(self, rank):
        """At another port, as a worker that is started again."""
        self.listeners[rank].close()
        self.listeners[rank] = ports.listen(0, 64, "127.0.0.1")
        self.addresses = tuple(map(_address, self.listeners))

    def name(self, rank):
        """Of a worker that hasn't come."""
        return f"worker {rank} ({self.addresses[rank]})"

    def port(self, rank):
        return int(self.addresses[rank].split(":")[1])

    def handshake(self, rank):
        fingerprints = {"flags": {"lr": "0.01"}, "versions": {}}
        address = self.addresses[rank]
        given = digest(self.addresses)
        return Handshake(rank, f"n{rank}", 100 + rank, address, 1, given, fingerprints)

    def meets(self, rank, timeout_s=60.0, stop_signal=str, by_file=(None, TOKEN), **changes):
        """A task: a worker in its meeting; `by_file` is (the file, the token) if there is one."""
        file, token = by_file
        given = ("",) * len(self.addresses) if file else self.addresses
        topology = Topology(given, rank, "tf_config", token)
        address = self.addresses[rank].removeprefix("127.0.0.1" if file and rank else "")
        own = self.handshake(rank)._replace(address=address, topology=digest(given))
        own = own._replace(**changes)
        deadline = MeetingDeadline(own.name, timeout_s, self.clock, stop_signal)
        meeting = rendezvous(topology, own, self.listeners[rank], deadline, file)
        self.tasks.append(asyncio.create_task(meeting))
        return self.tasks[-1]

    async def played(self, rank, *words):
        """A worker that the test plays: what it hears, and its connection; it has said `words`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port(0))
        self.opened.append(writer)
        for word in words or (self.handshake(rank).message(TOKEN),):
            say(writer, word)
        return reader, writer

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for each in (*self.opened, *self.listeners):
            each.close()
        await asyncio.sleep(1)


def _address(listener):
    return f"127.0.0.1:{listener.getsockname()[1]}"


def say(writer, word):
    writer.write(word if isinstance(word, bytes) else json.dumps(word).encode() + b"\n")


async def heard(reader):
    """The next message; None at the end."""
    line = await reader.readline()
    return json.loads(line) if line else None


def course(size, test, absent=()):
    """Runs `test(workers)`; those absent don't listen yet."""

    async def run():
        workers = Workers(size, absent)
        try:
            await asyncio.wait_for(test(workers), 1000)
        finally:
            await workers.close()

    virtual_time.run(run())


async def said(*tasks, kind=RunError):
    """The message with which all tasks end."""
    texts = set()
    for task in tasks:
        with pytest.raises(kind) as caught:
            await task
        texts.add(str(caught.value))
    assert len(texts) == 1, texts
    return texts.pop()


class Chief:
    """A server in the place of worker 0: it says `words` to each connection, each some s later."""

    def __init__(self, workers, *words):
        self._words, self._workers = words, workers
        self.introductions = []

    async def start(self):
        self.server = await asyncio.start_server(self._serve, sock=self._workers.listeners[0])
        self._workers.opened.append(self.server)

    async def _serve(self, reader, writer):
        self._workers.opened.append(writer)
        with contextlib.suppress(ConnectionError):
            self.introductions.append((now(), await heard(reader)))
            for seconds, word in self._words:
                await asyncio.sleep(seconds)
                say(writer, word)
            writer.close()
