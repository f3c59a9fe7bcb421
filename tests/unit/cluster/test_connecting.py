"""Connections by name: each address is tried, and the reason of a failure is known."""

import asyncio
import contextlib
import gc
import socket
import threading

import pytest

from mnist_dist.cluster import ports
from mnist_dist.cluster.connecting import connect
from tests.unit.cluster import virtual_time
from tests.unit.cluster.virtual_time import now


@pytest.fixture(autouse=True)
def nothing_stays_open(recwarn):
    yield
    gc.collect()
    assert [each.message for each in recwarn if each.category is ResourceWarning] == []


@pytest.fixture
def named(monkeypatch):
    """Sets the addresses of a host; returns a list of the threads that will look it up."""

    def with_addresses(*found, name="n0"):
        look_up, threads = socket.getaddrinfo, []

        def stand_in(host, port, **more):
            if host != name:
                return look_up(host, port, **more)
            threads.append(threading.current_thread())
            if found and isinstance(found[0], Exception):
                raise found[0]
            return [entry for address in found for entry in look_up(address, port, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", stand_in)
        return threads

    return with_addresses


@pytest.fixture
def listener():
    with ports.listen(0, 1, "127.0.0.1") as found:
        yield found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "n0"])
def test_an_address_that_refuses_is_followed_by_the_next(named, listener, host):
    named("127.0.0.2", "127.0.0.1")
    connection = asyncio.run(connect(host, listener.getsockname()[1], 10.0))
    with connection, listener.accept()[0] as other:
        assert connection.getpeername() == listener.getsockname()
        assert connection.getsockname() == other.getpeername()


@pytest.mark.parametrize(
    ("addresses", "error", "text"),
    [
        (["127.0.0.2", "127.0.0.3"], ConnectionRefusedError, "127.0.0.3"),
        ([], OSError, "host 'n0' has no address"),
        ([socket.gaierror(socket.EAI_AGAIN, "again")], socket.gaierror, "again"),
        ([UnicodeError("label too long")], UnicodeError, "label too long"),
    ],
)
def test_the_reason_is_raised(named, listener, addresses, error, text):
    named(*addresses)
    with pytest.raises(error, match=text):
        asyncio.run(connect("n0", listener.getsockname()[1], 10.0))


def test_a_name_server_that_does_not_answer_blocks_nothing(named, listener):
    """Neither the event loop nor the end of the process; an address needs no server."""
    by_name, by_address = named("127.0.0.1"), named("127.0.0.1", name="192.0.2.1")
    for host in ("n0", "192.0.2.1"):
        asyncio.run(connect(host, listener.getsockname()[1], 10.0)).close()
    assert [thread.daemon for thread in by_name] == [True]
    assert by_address == [threading.current_thread()]


@contextlib.contextmanager
def full_queue():
    """The port of a server that accepts nothing, and gives no answer."""
    with contextlib.ExitStack() as stack, ports.listen(0, 0, "127.0.0.1") as server:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_each_address_has_its_time(named):
    named("127.0.0.1", "127.0.0.1", name="192.0.2.1")

    async def run():
        with full_queue() as port:
            with pytest.raises(TimeoutError, match=r"^no answer within 3 s$"):
                await asyncio.wait_for(connect("192.0.2.1", port, 3.0), 60)
            assert 6 <= now() < 7

    virtual_time.run(run())


def test_an_attempt_can_be_cancelled():
    async def run():
        with full_queue() as port:
            attempt = asyncio.create_task(connect("127.0.0.1", port, 3.0))
            await asyncio.sleep(1)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt

    virtual_time.run(run())
