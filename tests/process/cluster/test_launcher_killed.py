"""A launcher that is killed leaves no worker behind, whatever they were at."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.process.trainer import ROOT, SMALL, environment
from tests.waiting import wait_for


def running(pids):
    return [pid for pid in pids if psutil.pid_exists(pid) and "python" in _name(pid)]


def _name(pid):
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize(
    "moment", ["", "Using device", "Batch #0\t", "Batch #20\t", "Train time", "Validation set"]
)
def test_no_process_is_left(tmp_path, moment):
    """At the start (the workers import), and at some lines of the log."""
    flags = (*SMALL, "--epochs=100", "--batch_size=512", f"--run_dir={tmp_path}/run")
    launcher = subprocess.Popen(
        [sys.executable, "-u", "-m", "mnist_dist.local", "-n", "2", "--", *flags],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT},
        env=environment(),
    )
    children = psutil.Process(launcher.pid).children
    wait_for("two workers", lambda: len(children()) == 2, 60)
    if moment:
        assert any(moment in line for line in launcher.stdout), "it ended"
    workers = [child.pid for child in children(recursive=True)]
    assert len(workers) >= 2
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    wait_for("the workers' ends", lambda: not running(workers), 120)
