"""How a worker finds worker 0: by its names and ports, or by a file. In virtual time."""

import asyncio
import contextlib
import itertools
import socket
from types import SimpleNamespace

import pytest

from mnist_dist.cluster import introduction, meeting_file, reachability
from mnist_dist.cluster.admission import MISFIT_S
from mnist_dist.cluster.connecting import connect
from mnist_dist.cluster.deadline import RETRY_S, MeetingDeadline
from mnist_dist.cluster.introduction import Introduction
from mnist_dist.cluster.reachability import TRY_S
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError
from tests.unit.cluster.course import TOKEN, Chief, course, heard, said
from tests.unit.cluster.virtual_time import Clock, now

MET = (0, {"met": True})
UNKNOWN = "Name or service not known"


@contextlib.contextmanager
def published(workers, file):
    """The file of the worker 0 that listens now; yields what this one meets by."""
    with meeting_file.published(file, ["127.0.0.1"], workers.port(0)) as token:
        yield file, token


def test_workers_meet_by_a_file(tmp_path):
    file = tmp_path / "file"

    async def test(workers):
        early = [workers.meets(rank, by_file=(file, TOKEN)) for rank in (1, 2)]
        await asyncio.sleep(5)
        with published(workers, file) as by_file:
            groups = await asyncio.gather(workers.meets(0, by_file=by_file), *early)
        assert [each.workers for each in groups] == [workers.addresses] * 3
        assert now() < 7

    course(3, test)


def test_when_worker_0_leaves_the_next_one_is_found_by_its_file(tmp_path):
    file = tmp_path / "file"

    async def test(workers):
        first = Chief(workers, MET, (3, b""))
        await first.start()
        with published(workers, file) as (_, token):
            early = workers.meets(1, by_file=(file, TOKEN))
            await asyncio.sleep(5)
        assert {word["token"] for _, word in first.introductions} == {token}
        assert len(first.introductions) == 2  # after 3 s anew
        first.server.close()
        workers.listens_anew(0)
        with published(workers, file) as by_file:
            later = [workers.meets(0, by_file=by_file), workers.meets(2, by_file=(file, TOKEN))]
            groups = await asyncio.gather(early, *later)
        assert [each.workers for each in groups] == [workers.addresses] * 3

    course(3, test)


@pytest.mark.parametrize("tries", [True, False])
def test_worker_0_that_leaves_too_late_for_another_is_named(tmp_path, tries):
    """After the addresses, or after `--connect_timeout`."""
    file = tmp_path / "file"

    async def test(workers):
        word = (1, {"try": workers.addresses}) if tries else (35, b"")
        chief = Chief(workers, MET, word)
        await chief.start()
        with published(workers, file):
            text = await said(workers.meets(1, timeout_s=10.0, by_file=(file, TOKEN)))
        assert text == (
            "worker 1 (host n1): worker 0 left before all workers had met; look into its log"
        )
        assert len(chief.introductions) == 1
        end_s = 1 if tries else 10 + TRY_S + MISFIT_S
        assert end_s <= now() < end_s + 1
        await asyncio.sleep(10)  # until the chief has spoken

    course(2, test)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            None,
            "there is no {} of worker 0; look into its log, and whether all hosts share that "
            "folder (--run_dir), or set MASTER_ADDR and MASTER_PORT",
        ),
        ("[]", "{} isn't worker 0's; delete it, or give another --run_dir"),
        ("/", "{} Not a directory; delete it, or give another --run_dir"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path, content, expected):
    file = tmp_path / "folder" / "file"
    if content == "/":
        file.parent.touch()
    else:
        file.parent.mkdir()
    if content == "[]":
        file.write_text(content)

    async def test(workers):
        text = await said(workers.meets(1, timeout_s=10.0, by_file=(file, TOKEN)))
        assert text == f"worker 1 (host n1): after 10 s {expected.format(file)}"

    course(2, test)


def by_names(workers, *names, timeout_s=10.0):
    """The introduction of worker 1: worker 0 has some names, and listens on its second port."""
    first, second = workers.port(2), workers.port(0)
    addresses = (f"{names[0]}:{first}", workers.addresses[1])
    ports = {"port_candidates": 2, "port_step": second - first}
    topology = Topology(addresses, 1, "rank", TOKEN, chief_hosts=names[1:], **ports)
    own = workers.handshake(1)
    return Introduction(topology, own, MeetingDeadline(own.name, timeout_s, Clock(), str))


@pytest.fixture
def tried(monkeypatch):
    """(host, port) of each attempt; the name "here" is this host's, others are unknown."""
    found = []

    async def noted(host, port, timeout_s):
        found.append((host, port))
        if host != "here":
            raise socket.gaierror(socket.EAI_NONAME, UNKNOWN)
        return await connect("127.0.0.1", port, timeout_s)

    monkeypatch.setattr(introduction, "connect", noted)
    return found


def test_each_name_and_each_port_of_worker_0_is_tried(tried):
    async def test(workers):
        await Chief(workers, MET).start()
        peer = await by_names(workers, "n0", "here").find_chief()
        peer.close()
        first, second = workers.port(2), workers.port(0)
        # A name that is unknown is looked up once in each round.
        assert tried == [("n0", first), ("here", first), ("here", second)]
        assert now() < 1

    course(3, test, absent=(2,))


def test_an_unknown_name_of_worker_0_is_said(tried, capsys):
    async def test(workers):
        text = await said(by_names(workers, "n0").find_chief())
        assert text == (
            f"worker 1 (host n1): after 10 s host 'n0' of worker 0 can't be found ({UNKNOWN}); "
            "check its name"
        )
        assert 10 <= now() < 11

    course(3, test, absent=(2,))
    assert capsys.readouterr().err == (
        f"mnist_dist: worker 1 (host n1): host 'n0' of worker 0 can't be found yet ({UNKNOWN}); "
        "trying on, 10 s in all\n"
    )


def test_a_name_that_no_host_can_have_is_said_at_once():
    async def test(workers):
        name = "n" * 64
        with pytest.raises(RunError, match=rf"^worker 1 \(host n1\): host '{name}' of worker 0: "):
            await by_names(workers, name).find_chief()
        assert now() < 1

    course(3, test, absent=(2,))


@pytest.fixture
def latest(monkeypatch):
    """Each random pause is as long as it can be."""
    monkeypatch.setattr(introduction, "_jitter", SimpleNamespace(uniform=lambda low, high: high))


def test_attempts_are_spread_and_come_more_and_more_rarely(monkeypatch, latest):
    """All workers may have made the first one at the same moment."""
    attempts, at_s, pause_s = [], [0.0], RETRY_S

    async def refused(host, port, timeout_s):
        attempts.append((now(), timeout_s))
        raise ConnectionRefusedError

    monkeypatch.setattr(introduction, "connect", refused)
    monkeypatch.setattr(introduction, "ARRIVALS_PER_S", 0.5)  # so two workers take 4 s

    async def test(workers):
        await said(workers.meets(1, timeout_s=60.0))

    course(2, test)
    for number, _ in enumerate(attempts[1:]):
        at_s.append(at_s[-1] + min(pause_s, 4.0) + (4.0 if number == 0 else 0.0))
        pause_s *= 1.5
    assert [when for when, _ in attempts] == pytest.approx(at_s)
    assert at_s[-1] > 55
    longest = [timeout_s for _, timeout_s in attempts]
    assert longest == [introduction.FIRST_CONNECT_S, *[introduction.CONNECT_S] * (len(longest) - 1)]


def test_each_answer_is_waited_for_twice_as_long(latest):
    """Up to a limit; worker 0 may be busy, or suspended."""

    async def test(workers):
        chief = Chief(workers, (300, b""))
        await chief.start()
        await said(workers.meets(1, timeout_s=200.0))
        came = [when for when, _ in chief.introductions]
        waited = [later - when for when, later in itertools.pairwise(came)]
        assert waited == pytest.approx([3, 6, 12, 24, 30, 30, 30, 30], abs=1.1)
        await asyncio.sleep(300)

    course(2, test)


def test_an_attempt_without_an_answer_is_closed():
    closed_s = []

    async def serve(reader, writer):
        await heard(reader)
        assert await reader.read() == b""
        closed_s.append(now())
        writer.close()

    async def test(workers):
        workers.opened.append(await asyncio.start_server(serve, sock=workers.listeners[0]))
        await said(workers.meets(1, timeout_s=5.0))
        assert closed_s[0] == pytest.approx(introduction.ANSWER_S, abs=0.5)

    course(2, test)


def test_after_the_verdict_nobody_is_tried(monkeypatch):
    tried = []

    async def noted(host, port, timeout_s):
        tried.append((now(), port))
        return socket.socket()

    monkeypatch.setattr(reachability, "connect", noted)

    async def test(workers):
        await Chief(workers, MET, (1, {"error": "wrong", "usage": False})).start()
        assert await said(workers.meets(1)) == "wrong"
        await asyncio.sleep(2 * reachability.EARLY_S)
        assert tried == []

    course(4, test)
