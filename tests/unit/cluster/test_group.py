"""Workers that have met, all in one event loop and in virtual time: `Group` and `Meeting`."""

import asyncio
import math
import socket
from types import SimpleNamespace

import pytest

from mnist_dist.cluster import group, liveness, messages
from mnist_dist.cluster.deadline import TICK_S
from mnist_dist.cluster.group import AFTER_S, BEAT_S, PARTING_S, Group
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.peer import Peer
from mnist_dist.errors import EXIT_FAILED, EXIT_USAGE, RunError
from tests.unit.cluster import virtual_time
from tests.unit.cluster.virtual_time import Clock, now

TIMEOUT_S = 4.5


def name(rank):
    return f"worker {rank} (host n{rank})"


class Workers:
    """Groups by rank, and their connections: `peers[a][b]` is worker a's end of that to b."""

    def __init__(self, size):
        self.clock = Clock()
        self.groups, self.peers = [], [{} for _ in range(size)]
        self.tasks = []

    async def connect(self):
        loop = asyncio.get_running_loop()
        for rank in range(1, len(self.peers)):
            for own, other, end in zip((0, rank), (rank, 0), socket.socketpair(), strict=True):
                peer = Peer(self.clock, None, None)
                peer.rank, peer.name = other, name(other)
                await loop.create_connection(lambda peer=peer: peer, sock=end)
                self.peers[own][other] = peer
        workers = tuple(f"n{rank}:2000" for rank in range(len(self.peers)))
        for rank, peers in enumerate(self.peers):
            self.groups.append(Group(workers, rank, name(rank), peers, self.clock))

    def close(self):
        for peers in self.peers:
            for peer in peers.values():
                peer.close(flush=False)

    def losses(self):
        """What each worker knows of a loss: (message, exit code), or None."""
        return [each.loss.result() if each.loss.done() else None for each in self.groups]


def met(size, test):
    """Runs `test(workers)` with as many workers."""

    async def run():
        workers = Workers(size)
        await workers.connect()
        try:
            await asyncio.wait_for(test(workers), 1000)
        finally:
            workers.close()
            await asyncio.sleep(TICK_S)

    virtual_time.run(run())


def test_heartbeats_report_each_step_to_worker_0_and_its_step_to_all(monkeypatch):
    monkeypatch.setattr(group, "BATCH", 2)

    async def test(workers):
        for each in workers.groups:
            each.watch(TIMEOUT_S)
        for peers in workers.peers:
            for peer in peers.values():
                peer.step = -1
        await asyncio.sleep(2 * BEAT_S)
        assert {peer.step for peers in workers.peers for peer in peers.values()} == {0}
        for rank, each in enumerate(workers.groups):
            each.step = 10 + rank
        await asyncio.sleep(2 * BEAT_S)
        assert {rank: peer.step for rank, peer in workers.peers[0].items()} == {
            rank: 10 + rank for rank in range(1, 6)
        }
        assert [workers.peers[rank][0].step for rank in range(1, 6)] == [10] * 5
        assert workers.losses() == [None] * 6

    met(6, test)


def test_silence_is_found_in_time_and_told_to_the_others():
    async def test(workers):
        workers.groups[0].watch(TIMEOUT_S)
        workers.groups[2].watch(TIMEOUT_S)
        await asyncio.sleep(3)  # worker 1 hasn't said a word till then
        workers.peers[1][0].send(messages.pack({"beat": 7}))
        await workers.groups[0].loss
        assert 3 + TIMEOUT_S < now() < 3 + TIMEOUT_S + 2 * TICK_S
        await asyncio.sleep(TICK_S)
        lost = (f"{name(1)} fell silent {TIMEOUT_S:g} s ago, at step 7", EXIT_FAILED)
        gone = (f"{name(0)} is gone (last heard of at step 0)", EXIT_FAILED)
        assert workers.losses() == [lost, gone, lost]

    met(3, test)


def test_silence_counts_from_the_start_of_the_watch():
    async def test(workers):
        await asyncio.sleep(10 * TIMEOUT_S)
        for each in workers.groups:
            each.watch(TIMEOUT_S)
        await asyncio.sleep(10 * TIMEOUT_S)
        assert workers.losses() == [None] * 3

    met(3, test)


def test_the_first_loss_counts():
    async def test(workers):
        workers.peers[0][2].step = 5
        workers.peers[2][0].close()
        await asyncio.sleep(TICK_S)  # worker 1 hears of it and closes its connection, too
        lost = (f"{name(2)} is gone (last heard of at step 5)", EXIT_FAILED)
        assert workers.losses() == [lost, lost, None]

    met(3, test)


class BrokenClock:
    @property
    def seconds(self):
        raise OSError("the clock is broken")


def test_who_can_not_watch_says_so():
    async def test(workers):
        workers.groups[0].watch(TIMEOUT_S)
        workers.groups[0]._clock = BrokenClock()
        await workers.groups[0].loss
        lost = (f"{name(0)}: can't watch: OSError('the clock is broken')", EXIT_FAILED)
        assert workers.groups[0].loss.result() == lost

    met(2, test)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_values_are_exchanged_whoever_comes_first(order):
    async def test(workers):
        for number in range(2):
            begun = {}
            for rank in order:
                value = {"rank": rank, "number": number}
                exchange = workers.groups[rank].exchange(value, lambda values: values[::-1], 9.0)
                begun[rank] = asyncio.create_task(exchange)
                await asyncio.sleep(1)
            expected = [{"rank": rank, "number": number} for rank in (2, 1, 0)]
            assert [await begun[rank] for rank in range(3)] == [expected] * 3

    met(3, test)


@pytest.mark.parametrize(("size", "more"), [(10, ""), (13, " and 3 more")])
def test_worker_0_names_whose_value_is_missing_before_the_others_give_up(size, more):
    async def test(workers):
        begun = [
            asyncio.create_task(workers.groups[rank].exchange(0, lambda _: 0, 10.0))
            for rank in (0, 1)
        ]
        with pytest.raises(RunError) as caught:
            await begun[0]
        named = ", ".join(name(rank) for rank in range(2, 10))
        assert str(caught.value) == f"{name(0)}: after 10 s no word from {named}{more}"
        assert 10 <= now() < 10.5
        with pytest.raises(RunError) as caught:
            await begun[1]
        said = f"{name(1)}: after {10 + AFTER_S:g} s no word from {name(0)}"
        assert str(caught.value) == said
        assert now() >= 10 + AFTER_S

    met(size, test)


@pytest.mark.parametrize("last", [False, True])
def test_after_the_last_exchange_a_closed_connection_is_no_loss(last):
    async def test(workers):
        ends = [each.exchange(0, lambda _: 1, 9.0, last=last) for each in workers.groups]
        assert await asyncio.gather(*ends) == [1, 1, 1]
        workers.peers[1][0].close()
        await asyncio.sleep(TICK_S)
        assert (workers.groups[0].loss.done(), workers.groups[2].loss.done()) == (not last,) * 2

    met(3, test)


@pytest.mark.parametrize(
    ("said", "heard"),
    [("the disk is full", f"{name(1)}: the disk is full"), (f"{name(1)} fell", f"{name(1)} fell")],
)
@pytest.mark.parametrize("code", [EXIT_FAILED, EXIT_USAGE])
def test_a_failure_is_told_to_all_by_the_name_of_the_worker(said, heard, code):
    async def test(workers):
        await workers.groups[1].fail(said, code)
        assert now() < PARTING_S  # worker 0 closed the connection
        await asyncio.sleep(TICK_S)
        assert workers.losses() == [(heard, code), None, (heard, code)]

    met(3, test)


def test_a_failure_is_told_for_a_bounded_time():
    async def test(workers):
        workers.peers[1][0].on_message = lambda *_: None  # it doesn't end
        await workers.groups[0].fail("full", EXIT_FAILED)
        assert PARTING_S <= now() < PARTING_S + 2 * TICK_S

    met(3, test)


def test_who_is_being_ended_for_another_cause_does_not_fail_by_itself():
    async def test(workers):
        workers.peers[0][1].close()
        await workers.groups[1].loss
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(workers.groups[1].fail("a consequence", EXIT_FAILED), 60)

    met(2, test)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ([{"beat": "soon"}], "a beat that isn't a step"),
        ([{"beat": True}], "a beat that isn't a step"),
        ([{"lost": 5, "code": 1}], "a loss without a cause"),
        ([{"lost": "all"}], "a loss without a cause"),
        ([{"lost": "all", "code": 7}], "a loss without a cause"),
        ([{"value": 1}, {"value": 2}], "two values in one exchange"),
    ],
)
def test_what_is_no_message_is_named(sent, problem):
    async def test(workers):
        for message in sent:
            workers.peers[1][0].send(messages.pack(message))
        await workers.groups[0].loss
        lost = (f"{name(1)} sent what is no message: {problem}", EXIT_FAILED)
        await asyncio.sleep(TICK_S)
        assert workers.losses()[0::2] == [lost, lost]

    met(3, test)


def test_a_result_that_nobody_asked_for_is_no_message():
    async def test(workers):
        workers.peers[0][1].send(messages.pack({"result": 1}))
        await workers.groups[1].loss
        said = f"{name(0)} sent what is no message: a result that nobody asked for"
        assert workers.groups[1].loss.result() == (said, EXIT_FAILED)

    met(2, test)


@pytest.fixture
def meetings():
    """Three workers' Meetings in one event loop, the Workers, and what runs it."""
    with asyncio.Runner(loop_factory=virtual_time.VirtualTime) as runner:
        workers = Workers(3)
        runner.run(workers.connect())
        loop = SimpleNamespace(run=runner.run)
        yield [Meeting(loop, each) for each in workers.groups], workers, runner
        workers.close()
        runner.run(asyncio.sleep(TICK_S))


def begin(workers, runner, *coroutines):
    """Has them run while a method of a Meeting waits."""
    workers.tasks += map(runner.get_loop().create_task, coroutines)


def values_of_others(workers, values):
    """Exchanges of workers 1 and 2."""
    pairs = zip(workers.groups[1:], values, strict=True)
    return [each.exchange(value, lambda _: None, 9.0) for each, value in pairs]


@pytest.mark.parametrize(
    ("values", "found"),
    [([5, 5], None), ([6, 7], [1, 6, 5]), ([5, 7], [2, 7, 5]), ([5, None], [2, None, 5])],
)
def test_the_first_that_differs_from_worker_0(meetings, values, found):
    (chief, *_), workers, runner = meetings
    begin(workers, runner, *values_of_others(workers, values))
    assert chief.difference(5, 9.0) == found
    begin(workers, runner, *values_of_others(workers, values))
    assert chief.gather(5, 9.0) == [5, *values]


@pytest.mark.parametrize("result", [5, None, [1, 2], [1, 2, 3, 4]])
def test_what_is_not_a_value_of_each_worker_is_refused(meetings, result):
    (_, other, _), workers, runner = meetings
    runner.get_loop().call_later(1, workers.peers[0][1].send, messages.pack({"result": result}))
    with pytest.raises(RunError, match=r"^worker 1 \(host n1\): worker 0 sent other values than"):
        other.gather(0, 9.0)


def test_a_loss_ends_the_process_after_the_others_have_heard(meetings, monkeypatch):
    (chief, *_), workers, runner = meetings
    left = []
    monkeypatch.setattr(liveness.exits, "leave", lambda *given: left.append((*given, now())))
    chief.watch(TIMEOUT_S)
    chief.report_step(8)
    workers.peers[0][1].step = 6
    workers.peers[2][0].on_message = lambda *_: None  # it doesn't end
    workers.peers[1][0].close()
    runner.run(asyncio.sleep(10 * PARTING_S))
    [(code, line, when)] = left
    gone = f"{name(1)} is gone (last heard of at step 6)"
    assert (code, line) == (EXIT_FAILED, f"mnist_dist: {name(0)}, step 8: {gone}")
    assert PARTING_S <= when < 2 * PARTING_S


@pytest.mark.parametrize(("usage", "code"), [(False, EXIT_FAILED), (True, EXIT_USAGE)])
def test_a_failure_has_the_exit_code_of_its_kind(meetings, usage, code):
    (_, other, _), workers, _ = meetings
    other.fail("no", usage)
    assert workers.groups[0].loss.result() == (f"{name(1)}: no", code)


def test_worker_0_leaves_when_all_others_have(meetings):
    (chief, *others), workers, runner = meetings
    for each in (chief, *others):
        each.watch(TIMEOUT_S)
    begin(workers, runner, *(each._goodbye() for each in others))
    for rank in (1, 2):  # after as many seconds
        runner.get_loop().call_later(rank, workers.peers[rank][0].close)
    chief.goodbye()
    assert all(task.done() for task in workers.tasks)
    assert 2 <= runner.get_loop().time() < 2 + 2 * TICK_S
    assert workers.losses() == [None] * 3


def test_worker_0_waits_for_the_others_ends_no_longer_than_for_their_heartbeats(meetings):
    (chief, *_), workers, runner = meetings
    chief.watch(TIMEOUT_S)
    begin(workers, runner, *values_of_others(workers, ["done", "done"]))
    chief.goodbye()
    assert TIMEOUT_S <= runner.get_loop().time() < TIMEOUT_S + 2 * TICK_S


@pytest.mark.parametrize(("given_s", "waited_s"), [(math.inf, TIMEOUT_S + 2 * BEAT_S), (1.0, 1.0)])
def test_a_cause_is_waited_for_in_bounds(meetings, monkeypatch, given_s, waited_s):
    (chief, *_), _, _ = meetings
    waited = []
    event = SimpleNamespace(Event=lambda: SimpleNamespace(wait=waited.append))
    monkeypatch.setattr(liveness, "threading", event)
    chief.watch(TIMEOUT_S)
    chief.wait_for_cause(given_s)
    assert waited == [waited_s]
