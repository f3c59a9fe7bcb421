"""The course of a meeting: all workers in one event loop and in virtual time, over real sockets.

test_rendezvous.py has the same with real processes.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from mnist_dist.cluster import admission, introduction, ports, reachability, reception
from mnist_dist.cluster.connecting import NO_ANSWER, connect
from mnist_dist.cluster.group import PARTING_S
from mnist_dist.cluster.reachability import ATTEMPT_S, ATTEMPTS, PAUSE_S, targets
from mnist_dist.errors import RunError, ToldToStop, UsageError
from tests.unit.cluster.course import TOKEN, Chief, course, heard, said, say
from tests.unit.cluster.virtual_time import now

AT_ONCE = socket.IPPROTO_TCP, socket.TCP_NODELAY


def test_all_meet_and_stay_connected():
    async def test(workers):
        groups = await asyncio.gather(*map(workers.meets, range(4)))
        assert [each.workers for each in groups] == [workers.addresses] * 4
        assert [each.name for each in groups] == [f"worker {r} (host n{r})" for r in range(4)]
        assert now() < 1
        connections = [peer._transport for each in groups for peer in each._peers.values()]
        options = [each.get_extra_info("socket").getsockopt(*AT_ONCE) for each in connections]
        assert options == [1] * 6
        ends = [each.exchange(rank, list, 5.0) for rank, each in enumerate(groups)]
        assert await asyncio.gather(*ends) == [[0, 1, 2, 3]] * 4
        value = random.Random(0).randbytes(150_000).hex()  # over 128 KiB when compressed, too
        ends = [each.exchange(value, "".join, 5.0) for each in groups]
        assert await asyncio.gather(*ends) == [4 * value] * 4
        await groups[2].fail("no", 1)
        lost = ("worker 2 (host n2): no", 1)
        assert await asyncio.gather(*(groups[rank].loss for rank in (0, 1, 3))) == [lost] * 3

    course(4, test)


def test_worker_0_is_tried_until_it_comes():
    async def test(workers):
        early = workers.meets(1)
        await asyncio.sleep(30)
        workers.listeners[0].listen(64)
        await asyncio.gather(workers.meets(0), early)
        assert now() < 32

    course(2, test, absent=(0,))


def test_worker_0_that_never_comes_is_tried_more_and_more_rarely(monkeypatch):
    attempts = []

    async def noted(host, port, timeout_s):
        attempts.append(now())
        return await connect(host, port, timeout_s)

    monkeypatch.setattr(introduction, "connect", noted)

    async def test(workers):
        text = await said(workers.meets(1, timeout_s=20.0))
        assert sum(when < 1 for when in attempts) >= 4
        assert sum(when >= 10 for when in attempts) <= 20  # every half second at most
        assert text == (
            f"worker 1 (host n1): after 20 s {workers.name(0)} did not answer; look into its log, "
            "and whether this host can reach it"
        )
        assert 20 <= now() < 22

    course(2, test, absent=(0,))


def test_the_missing_are_named_to_those_there():
    async def test(workers):
        text = await said(workers.meets(0, timeout_s=10.0), workers.meets(1))
        assert text == (
            f"after 10 s {workers.name(2)} did not come; look into their logs, and whether they "
            f"can reach {workers.name(0)}"
        )
        assert 10 <= now() < 12

    course(3, test)


@pytest.mark.parametrize("rank", [0, 1])
def test_told_to_stop_while_waiting(rank):
    async def test(workers):
        def signal():
            return "SIGTERM" if now() > 5 else ""

        tasks = {0: workers.meets(0, stop_signal=signal if rank == 0 else str)}
        tasks[1] = workers.meets(1, stop_signal=signal if rank == 1 else str)
        with pytest.raises(ToldToStop) as caught:
            await tasks[rank]
        awaited = workers.name(2) if rank == 0 else "the other workers"
        assert str(caught.value) == (
            f"worker {rank} (host n{rank}): told to stop by SIGTERM while waiting for {awaited}"
        )
        assert 5 <= now() < 5.5

    course(3, test)


def test_told_to_stop_while_the_workers_try_to_reach_each_other():
    async def test(workers):
        chief = workers.meets(0, stop_signal=lambda: "SIGUSR1" if now() > 5 else "")
        reader, _ = await workers.played(1)
        assert (await heard(reader), await heard(reader)) == ({"met": True}, {"try": {}})
        with pytest.raises(ToldToStop, match=r"stop by SIGUSR1 while waiting for worker 1$"):
            await chief

    course(2, test)


def test_a_misfit_is_told_at_once_if_all_are_there():
    async def test(workers):
        started = [workers.meets(0), workers.meets(1, devices=2)]
        assert "has 2 device(s), worker 0 1" in await said(*started, kind=UsageError)
        assert now() < admission.MISFIT_S

    course(2, test)


def test_a_misfit_is_told_to_all_who_come_soon():
    async def test(workers):
        started = [workers.meets(0), workers.meets(1, devices=2)]
        await asyncio.sleep(2)
        started.append(workers.meets(2))
        text = await said(*started, kind=UsageError)
        assert text.startswith("worker 1 (host n1) has 2 device(s), worker 0 1; ")
        assert now() < admission.MISFIT_S + 2  # nobody waits for worker 3

    course(4, test)


def test_a_second_worker_of_one_rank_is_told_to_all():
    async def test(workers):
        chief = workers.meets(0)
        reader, _ = await workers.played(1)
        assert await heard(reader) == {"met": True}
        text = await said(chief, workers.meets(1, pid=7, host="n9"), kind=UsageError)
        assert text.startswith("two workers have index 1: process 101 on host n1 and process 7 on")
        assert await heard(reader) == {"error": text, "usage": True}

    course(4, test)


def test_a_second_worker_that_comes_with_the_last_ones_is_told_to_all():
    async def test(workers):
        started = [workers.meets(rank) for rank in range(3)]
        second, _ = await workers.played(1)
        text = await said(*started, kind=UsageError)
        assert text.startswith("two workers have index 1: process 101 on host n1 and process 101")
        assert await heard(second) == {"met": True}
        assert await heard(second) == {"error": text, "usage": True}
        assert now() < 2

    course(3, test)


def test_a_second_worker_that_comes_while_the_others_are_tried_is_told_to_all():
    async def test(workers):
        chief = workers.meets(0)
        first, writer = await workers.played(1)
        assert (await heard(first), await heard(first)) == ({"met": True}, {"try": {}})
        second = workers.meets(1, pid=7, host="n9")
        await asyncio.sleep(2)
        say(writer, {"tried": {}})
        assert (await said(chief, second, kind=UsageError)).startswith("two workers have index 1")

    course(2, test)


def test_a_second_worker_that_comes_at_the_last_moment_is_dropped():
    async def test(workers):
        chief = workers.meets(0)
        first, writer = await workers.played(1)
        assert (await heard(first), await heard(first)) == ({"met": True}, {"try": {}})
        second, _ = await workers.played(1)
        assert await heard(second) == {"met": True}
        say(writer, {"tried": {}})
        await chief
        assert await heard(second) is None
        assert await heard(first) == {"host": "n0"}

    course(2, test)


def test_one_that_is_started_again_is_no_second_one():
    async def test(workers):
        chief = workers.meets(0)
        reader, writer = await workers.played(1)
        assert await heard(reader) == {"met": True}
        again = workers.meets(1)
        await asyncio.sleep(admission.DOUBLE_S - 0.1)
        writer.close()
        await asyncio.gather(chief, again, workers.meets(2))

    course(3, test)


def test_a_second_one_that_leaves_at_once_is_none():
    async def test(workers):
        chief, first = workers.meets(0), workers.meets(1)
        await asyncio.sleep(1)
        reader, writer = await workers.played(1)
        assert await heard(reader) == {"met": True}
        writer.close()
        await asyncio.sleep(1)
        await asyncio.gather(chief, first, workers.meets(2))

    course(3, test)


def test_strangers_are_dropped_after_a_second():
    async def test(workers):
        chief = workers.meets(0)
        silent, _ = await workers.played(1, b"")
        slow, _ = await workers.played(1, b'{"protocol": ')
        other, _ = await workers.played(1, workers.handshake(1).message("run-b"))
        older, _ = await workers.played(1, {**workers.handshake(1).message(TOKEN), "protocol": "3"})
        for reader in (other, older):
            assert (await heard(reader), await heard(reader)) == ({"other": True}, None)
        assert now() < admission.HANDSHAKE_S / 2
        for reader in (silent, slow):
            assert await reader.read() == b""
            assert admission.HANDSHAKE_S <= now() < admission.HANDSHAKE_S + 0.2
        await asyncio.gather(chief, workers.meets(1))

    course(2, test)


def test_of_too_many_strangers_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(admission, "MOST_STRANGERS", 2)

    async def test(workers):
        workers.meets(0)
        readers = [(await workers.played(1, b""))[0] for _ in range(3)]
        assert await readers[0].read() == b""
        assert now() < admission.HANDSHAKE_S / 2
        assert await readers[1].read() == b""
        assert now() >= admission.HANDSHAKE_S

    course(2, test)


def test_strangers_that_have_left_do_not_count(monkeypatch):
    monkeypatch.setattr(admission, "MOST_STRANGERS", 2)

    async def test(workers):
        workers.meets(0)
        reader, _ = await workers.played(1, b"")
        for _ in range(4):
            _, leaving = await workers.played(1, b"")
            leaving.close()
            await asyncio.sleep(0.1)
        assert await reader.read() == b""
        assert now() >= admission.HANDSHAKE_S

    course(2, test)


def test_who_speaks_out_of_turn_is_dropped_with_a_line(capsys):
    async def test(workers):
        chief = workers.meets(0)
        hello = workers.handshake(1).message(TOKEN)
        reader, _ = await workers.played(1, hello, {"beat": 3})
        assert (await heard(reader), await heard(reader)) == ({"met": True}, None)
        await asyncio.gather(chief, workers.meets(1), workers.meets(2))

    course(3, test)
    assert capsys.readouterr().err == (
        "mnist_dist: worker 0 (host n0): dropped a connection from 127.0.0.1: "
        "a message before it was asked for\n"
    )


@pytest.mark.parametrize("leaves", [True, False])
def test_worker_0_ends_when_all_have_heard_why_or_after_a_second(leaves):
    async def test(workers):
        chief = workers.meets(0)
        hello = {**workers.handshake(1).message(TOKEN), "devices": 2}
        reader, writer = await workers.played(1, hello)
        assert await heard(reader) == {"met": True}
        assert "has 2 device(s)" in (await heard(reader))["error"]
        heard_s = now()
        if leaves:
            writer.close()
        assert "has 2 device(s)" in await said(chief, kind=UsageError)
        least_s = 0 if leaves else PARTING_S
        assert least_s <= now() - heard_s < least_s + PARTING_S / 2

    course(2, test)


def test_who_was_started_with_other_addresses_gets_all_of_them():
    async def test(workers):
        workers.meets(0)
        other, _ = await workers.played(1, {**workers.handshake(1).message(TOKEN), "topology": ""})
        same, _ = await workers.played(2)
        for reader, changes in ((other, list(workers.addresses)), (same, {})):
            assert await heard(reader) == {"met": True}
            assert await heard(reader) == {"try": changes}

    course(3, test)


def test_as_many_may_come_at_once_as_the_kernel_allows():
    async def test(workers):
        workers.meets(0)
        await asyncio.sleep(1)
        info = workers.listeners[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        [longest] = struct.unpack("I", info[28:])  # Linux: tcpi_sacked, of a listening socket
        allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())
        assert longest == min(reception.BACKLOG, allowed)

    course(2, test)


def test_at_the_end_no_stranger_is_left_and_the_ports_are_free():
    async def test(workers):
        stranger, _ = await workers.played(1, b"")
        await asyncio.gather(*map(workers.meets, range(2)))
        assert await stranger.read() == b""
        assert now() < admission.HANDSHAKE_S
        for rank in range(2):
            ports.listen(workers.port(rank), 1, "127.0.0.1").close()

    course(2, test)


@pytest.mark.parametrize(
    ("answer", "end", "logged"),
    [
        (None, "fell silent", ""),
        ("", "was gone", ""),
        ({"tried": 5}, "was gone", "something else than the result of its attempts"),
        ({"tried": {"9": "no"}}, "was gone", "a rank that isn't there"),
        ({"beat": 1}, "was gone", "something else than the result of its attempts"),
    ],
)
def test_who_does_not_say_whom_it_reaches_is_named(answer, end, logged, capsys):
    async def test(workers):
        started = [workers.meets(rank, timeout_s=5.0) for rank in (0, 2)]
        reader, writer = await workers.played(1)
        assert await heard(reader) == {"met": True}
        assert await heard(reader) == {"try": {}}
        if answer == "":
            writer.close()
        elif answer is not None:
            say(writer, answer)
        text = await said(*started)
        assert text == f"worker 1 (host n1) came, but then {end}; look into its log"
        if answer is None:
            assert await heard(reader) == {"error": text, "usage": False}
            assert now() > 5 + ATTEMPTS * (ATTEMPT_S + PAUSE_S)  # in which it could have answered

    course(3, test)
    log = capsys.readouterr().err
    assert log.endswith(f"dropped a connection from 127.0.0.1: {logged}\n") if logged else not log


def test_what_a_worker_can_not_reach_is_told_to_all():
    async def test(workers):
        started = [workers.meets(rank) for rank in (0, 1)]
        reader, writer = await workers.played(2)
        assert await heard(reader) == {"met": True}
        assert await heard(reader) == {"try": {}}
        say(writer, {"tried": {"1": "No route to host"}})
        text = await said(*started)
        assert text == (
            f"worker 2 (host n2) can't reach worker 1 (host n1) at {workers.addresses[1]} "
            "(No route to host); check name and firewall"
        )

    course(3, test)


@pytest.mark.parametrize("silent", [False, True])
def test_who_can_not_be_reached_is_named(monkeypatch, silent):
    """Also after `--connect_timeout`, since all have come in time."""
    attempts = Counter()

    async def counted(host, port, timeout_s):
        attempts[port] += 1
        if silent and port == closed:
            await asyncio.sleep(timeout_s)
            raise TimeoutError(f"{NO_ANSWER} within {timeout_s:g} s")
        return await connect(host, port, timeout_s)

    closed = None
    monkeypatch.setattr(reachability, "connect", counted)

    async def test(workers):
        nonlocal closed
        closed = workers.port(2)
        started = [workers.meets(rank, timeout_s=1.0) for rank in (0, 1)]
        reader, writer = await workers.played(2)
        assert await heard(reader) == {"met": True}
        assert await heard(reader) == {"try": {}}
        say(writer, {"tried": {}})
        text = await said(*started)
        reason = f"{NO_ANSWER} within {ATTEMPT_S:g} s" if silent else "Connection refused"
        assert text == (
            f"worker 0 (host n0) can't reach worker 2 (host n2) at {workers.addresses[2]} "
            f"({reason}), nor can worker 1; check name and firewall"
        )
        assert attempts[closed] == 2 * ATTEMPTS
        assert (now() > 3 * ATTEMPT_S) == silent

    course(3, test, absent=(2,))


def test_a_dropped_attempt_is_made_again(monkeypatch):
    """A full accept queue drops connections."""
    dropped = set()

    async def drops(host, port, timeout_s):
        if port not in dropped:
            dropped.add(port)
            raise TimeoutError("dropped")
        return await connect(host, port, timeout_s)

    monkeypatch.setattr(reachability, "connect", drops)

    async def test(workers):
        await asyncio.gather(*map(workers.meets, range(3)))
        assert len(dropped) == 2  # worker 0 was reached by the introductions

    course(3, test)


def test_for_a_late_worker_nothing_is_tried_again(monkeypatch):
    """Those there have tried one another meanwhile."""
    size, late, late_s, tried = 8, 5, 28.0, []

    async def noted(host, port, timeout_s):
        tried.append((now(), port))
        return await connect(host, port, timeout_s)

    monkeypatch.setattr(reachability, "connect", noted)
    least = SimpleNamespace(uniform=lambda low, high: low)  # 5, 10, ... 25, 30 s
    monkeypatch.setattr(reachability, "_jitter", least)

    async def test(workers):
        started = [workers.meets(rank) for rank in range(size) if rank != late]
        await asyncio.sleep(late_s)
        workers.listeners[late].listen(64)
        await asyncio.gather(*started, workers.meets(late))
        wanted = Counter(targets(size, 0, TOKEN))  # worker 0 begins when all are there
        for rank in range(1, size):
            wanted.update(set(targets(size, rank, TOKEN)) - {0} if rank == late else ())
            wanted.update({late} & set(targets(size, rank, TOKEN)))
        ranks = {workers.port(rank): rank for rank in range(size)}
        assert Counter(ranks[port] for when, port in tried if when >= late_s) == wanted
        early = {ranks[port] for when, port in tried if when < late_s}
        assert early == set(range(1, size))

    course(size, test, absent=(late,))


@pytest.mark.parametrize(("usage", "kind"), [(True, UsageError), (False, RunError)])
def test_a_slow_answer_is_waited_for_the_second_time(usage, kind):
    async def test(workers):
        chief = Chief(workers, (4, {"met": True}), (1, {"error": "wrong", "usage": usage}))
        await chief.start()
        assert await said(workers.meets(1), kind=kind) == "wrong"
        first, second = (when for when, _ in chief.introductions)
        assert 3 <= second - first < 4
        assert chief.introductions[0][1] == workers.handshake(1).message(TOKEN)

    course(2, test)


@pytest.mark.parametrize(
    "words",
    [[{"host": "n0"}], [{"try": {"7": "n7:1"}}], [{"try": {}}, {"host": 5}], [{"later": 1}]],
)
def test_worker_0_that_speaks_nonsense_is_named(words):
    async def test(workers):
        await Chief(workers, *((0.5, word) for word in ({"met": True}, *words)), (5, b"")).start()
        text = await said(workers.meets(1))
        assert now() < 2
        await asyncio.sleep(5)  # until the chief has spoken
        assert text == (
            f"worker 1 (host n1): {workers.name(0)} left before all workers had met; "
            "look into its log"
        )

    course(2, test)


def test_another_run_in_the_place_of_worker_0_is_said():
    async def test(workers):
        await Chief(workers, (0, {"other": True})).start()
        text = await said(workers.meets(1, timeout_s=10.0))
        seen = f"{workers.name(0)} did not answer; another run listens on port {workers.port(0)}"
        assert seen in text

    course(2, test)
