"""Mutation testing: each mutant differs, and no process and no folder is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import mutants
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
HANGS = """
import os, pathlib, threading
def test_it():
    here = pathlib.Path(__file__).parent
    (here / "writing").write_text(str(os.getpid()))
    (here / "writing").rename(here / "pid")
    threading.Event().wait()
"""


def running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_each_mutant_differs():
    source = "def f(x):\n    if x:\n        return None\n    return x"
    assert [mutant[:3] for mutant in mutants.mutants(source)] == [
        (2, "if x:", "if not x:"),
        (4, "return x", "return None"),
    ]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_the_tests_end_with_the_one_that_started_them(name, tmp_path):
    (tmp_path / "test_hangs.py").write_text(HANGS)
    words = ["mnist_dist/exits.py", "--tests", str(tmp_path / "test_hangs.py")]
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.mutants", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    wait_for("the test", (tmp_path / "pid").exists, 60)
    pid = int((tmp_path / "pid").read_text())
    run.send_signal(signal.Signals[name])
    run.communicate(timeout=60)
    wait_for("the test's end", lambda: not running(pid), 60)
    if name == "SIGTERM":
        assert not list(tmp_path.glob("mutants-*"))
