"""Workers watch over each other: real processes, killed, stopped and failing."""

import json
import select
import signal
import subprocess

import pytest

from tests.unit.cluster.meeting import Worker, addresses


@pytest.fixture
def met():
    """Starts a number of workers and waits until they have met; ends those left."""
    started = []

    def go(number, **changes):
        workers = addresses(number)
        these = [Worker(workers, rank, **changes) for rank in range(number)]
        started.extend(these)
        for worker in these:
            assert worker.heard() == {"met": workers}
        return these

    yield go
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


def tell(workers, order):
    for worker in workers:
        worker.tell(order)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_killed_worker_is_named_by_all(met, lost):
    workers = met(3)
    tell(workers, "step 140")
    tell(workers, "gather 0")  # the step is known to all before
    for worker in workers:
        worker.heard()
    workers[lost].process.kill()
    for rank, worker in enumerate(workers):
        code, text = worker.end()
        if rank != lost:
            assert code == 1
            assert text.startswith(f"mnist_dist: worker {rank} (host ")
            assert "step 140: " in text
            assert f"worker {lost} (host " in text.partition(": ")[2].partition(": ")[2]
            assert "is gone" in text
            assert len(text.splitlines()) == 1


@pytest.mark.parametrize("lost", [0, 1])
def test_a_stopped_worker_is_named_by_all(met, lost):
    workers = met(3, peer_timeout_s=2.5)
    workers[lost].process.send_signal(signal.SIGSTOP)
    for rank, worker in enumerate(workers):
        if rank != lost:
            code, text = worker.end(deadline_s=60)  # its own timeouts, not one of the meeting
            assert code == 1
            assert f"worker {lost} (host " in text
            assert "fell silent 2.5 s ago, at step 0" in text
    workers[lost].process.send_signal(signal.SIGCONT)
    code, text = workers[lost].end()  # it finds itself alone
    assert code == 1
    assert "is gone" in text or "fell silent" in text


def test_all_stopped_together_go_on(met):
    """As `scontrol suspend` does; for longer than the silence after which one counts as lost."""
    workers = met(3, peer_timeout_s=2.5)
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        workers[0].process.wait(timeout=4)
    for worker in workers:
        worker.process.send_signal(signal.SIGCONT)
    tell(workers, "gather 7")
    assert [worker.heard() for worker in workers] == [{"gathered": [7, 7, 7]}] * 3
    tell(workers, "goodbye")
    assert [worker.end() for worker in workers] == [(0, "")] * 3


def test_the_cause_reaches_all_and_is_said_once(met):
    workers = met(3)
    tell(workers, "step 12")
    workers[1].tell("fail the disk is full")
    ends = [worker.end() for worker in workers]
    assert [code for code, _ in ends] == [1, 1, 1]
    assert ends[1][1] == "the disk is full"
    for rank in (0, 2):
        assert f"mnist_dist: worker {rank} (host " in ends[rank][1]
        assert "worker 1 (host " in ends[rank][1]
        assert ends[rank][1].endswith(": the disk is full")
        assert ends[rank][1].count("worker 1") == 1


def test_a_users_mistake_on_one_is_exit_code_2_on_all(met):
    workers = met(3)
    workers[2].tell("usage --data_dir has other images here")
    ends = [worker.end() for worker in workers]
    assert [code for code, _ in ends] == [2, 2, 2]
    assert all("--data_dir has other images here" in text for _, text in ends)


def test_gather_gives_all_the_values_by_rank(met):
    workers = met(3)
    for number in range(2):
        for rank, worker in enumerate(workers):
            worker.tell("gather " + json.dumps({"rank": rank, "number": number}))
        expected = [{"rank": rank, "number": number} for rank in range(3)]
        assert [worker.heard() for worker in workers] == [{"gathered": expected}] * 3


def test_gather_is_bounded_and_names_the_one_without_a_word(met):
    workers = met(3, gather_s=1.0)
    for rank in (0, 1):
        workers[rank].tell("gather 1")
    for rank in (0, 1):
        code, text = workers[rank].end()
        assert code == 1
        assert "after 1 s no word from worker 2 (host " in text


def test_no_worker_leaves_before_the_last_is_done(met):
    workers = met(3)
    tell(workers[:2], "goodbye")
    said = [worker.process.stdout for worker in workers[:2]]
    assert select.select(said, [], [], 0.5)[0] == []
    workers[2].process.kill()
    for worker in workers[:2]:
        code, text = worker.end()
        assert code == 1
        assert "worker 2 (host " in text


def test_all_leave_without_a_word(met):
    workers = met(3)
    tell(workers, "goodbye")
    for worker in workers:
        assert worker.heard() == {"left": True}
    assert [worker.end() for worker in workers] == [(0, "")] * 3
