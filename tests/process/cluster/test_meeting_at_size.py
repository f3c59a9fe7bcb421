"""Many workers meet: real processes without TensorFlow, and hundreds in a network namespace."""

import os
import re
import subprocess
import sys

import pytest

from tests.process.trainer import DEADLINE_S, ROOT, environment
from tests.unit.cluster.meeting import Worker, addresses

COUNT = 64


@pytest.fixture
def workers():
    started = []
    where = addresses(COUNT)
    for rank in range(COUNT):
        started.append(Worker(where, rank, peer_timeout_s=60.0, gather_s=60.0))
    yield where, started
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


def test_64_processes_meet_exchange_and_hear_of_a_death(workers):
    where, started = workers
    assert [worker.heard() for worker in started] == [{"met": where}] * COUNT
    for rank, worker in enumerate(started):
        worker.tell(f"gather {rank}")
    assert [worker.heard() for worker in started] == [{"gathered": list(range(COUNT))}] * COUNT
    lost = started.pop(COUNT // 2)
    lost.process.kill()
    lost.process.communicate()
    for worker in started:
        code, text = worker.end()
        assert code == 1
        assert f"worker {COUNT // 2} (host " in text.partition("step 0: ")[2]
        assert len(text.splitlines()) == 1


def namespaces():
    """Whether this user may make a network namespace."""
    words = ["unshare", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(
    "CI" not in os.environ and not namespaces(), reason="no network namespace for this user"
)
def test_a_short_accept_queue_and_a_low_soft_limit():
    """400 workers at once, an accept queue of 16, worker 0 with a soft limit of 256 files."""
    words = ("--workers=400", "--somaxconn=16", "--nofile=256", "--watch_s=0.1")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.meeting", *words],
        **{"capture_output": True, "text": True, "cwd": ROOT, "timeout": DEADLINE_S},
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the death of one was known to 398 workers" in done.stdout
    assert "worker 399 (host n399) is gone" in done.stdout
    assert int(re.search(r"(\d+) open files", done.stdout)[1]) > 400
