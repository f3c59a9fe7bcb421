"""The process that measures, as its parent hears it: a stand-in speaks in its place."""

import json
import socket
import sys

import pytest

from mnist_dist.bench import start
from mnist_dist.bench.plan import Task
from mnist_dist.errors import RunError, UsageError

TASK = Task(("a:1", "b:2"), 1, 3, 0.5)
LEFT = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').close()"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Has a shell script run in the place of the interpreter."""

    def put(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(start.sys, "executable", str(path))

    return put


def test_it_is_told_its_task_and_lives_on_till_it_may_leave(stand_in, tmp_path):
    left = tmp_path / "left"
    stand_in(f"""echo a library speaks; echo "{{\\"argv\\": \\"$2 $4\\"}}"
        exec {sys.executable} -c "{LEFT}" {left}""")
    with start.measured(TASK, ["--lr=1"]) as found:
        assert found == {"argv": "mnist_dist.bench.child --lr=1"}
        assert not left.exists()
    assert left.exists()
    assert json.loads(json.dumps(TASK)) == [["a:1", "b:2"], 1, 3, 0.5]


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("echo 'mnist_dist: --lr=1: no' >&2; echo more >&2; exit 2", UsageError, "--lr=1: no"),
        ("echo one >&2; echo two >&2; exit 1", RunError, "two"),
        ("kill -KILL $$", RunError, "ended with exit code -9"),
    ],
)
def test_how_it_fails(stand_in, script, kind, said):
    stand_in(script)
    with pytest.raises(kind) as raised, start.measured(TASK, []):
        pass
    where = f"worker 1 (host {socket.gethostname()}): " if kind is RunError else ""
    assert str(raised.value) == where + said
