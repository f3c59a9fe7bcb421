"""A launcher that is killed leaves no worker behind, at ten moments of a run."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.process.trainer import DEADLINE_S, ROOT, SMALL, environment
from tests.waiting import wait_for

LINES = ("Using device", "Batch #0\t", "Batch #20\t", "Train time", "Validation set")


def running(processes):
    return [process for process in processes if alive(process)]


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening(process):
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:  # a worker's own child, which may end at any moment
        return False
    return any(connection.status == psutil.CONN_LISTEN for connection in found)


class Launched:
    """Two workers under a launcher.

    Attributes:
        folder: of the run.
        process: the launcher.
    """

    def __init__(self, folder, data):
        self.folder = folder
        flags = (*SMALL, f"--data_dir={data}", "--validation_size=500", "--epochs=1000")
        flags += ("--batch_size=16", "--checkpoint_every_steps=60")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "mnist_dist.local", "-n", "2", "--", *flags,
             f"--run_dir={folder}"],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT},
            env=environment(),
        )  # fmt: skip

    def workers(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_for_workers(self, count):
        wait_for(f"{count} worker(s)", lambda: len(self.workers()) >= count, DEADLINE_S)

    def wait_for_line(self, text):
        assert any(text in line for line in self.process.stdout), "it ended"

    def wait_for_the_second_epoch(self):
        self.wait_for_line("Validation set")
        self.wait_for_line("Batch #0\t")

    def wait_for_listener(self):
        """Worker 0 has taken its port, and the workers meet."""

        def listens():
            return any(map(listening, self.workers()))

        wait_for("a listening worker", listens, DEADLINE_S)

    def wait_for_a_save(self):
        wait_for("a checkpoint", lambda: list(self.folder.glob("checkpoints/*ckpt*")), DEADLINE_S)


MOMENTS = {
    "one worker started": lambda launched: launched.wait_for_workers(1),
    "both import": lambda launched: launched.wait_for_workers(2),
    "they meet": Launched.wait_for_listener,
    "a save": Launched.wait_for_a_save,
    "the second epoch": Launched.wait_for_the_second_epoch,
    **{line.strip(): lambda launched, line=line: launched.wait_for_line(line) for line in LINES},
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_process_is_left(subset, tmp_path, moment):
    launched = Launched(tmp_path / "run", subset)
    try:
        MOMENTS[moment](launched)
        workers = launched.workers()
        assert workers
    finally:
        os.kill(launched.process.pid, signal.SIGKILL)
        launched.process.wait()
        launched.process.stdout.close()
    wait_for("the workers' ends", lambda: not running(workers), DEADLINE_S)
