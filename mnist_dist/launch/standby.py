"""Waits on another node of a SLURM job; continues the run if the batch host is lost.

Without it the job would stay in its allocation without a batch script, since it has --no-kill.
The supervisor starts it as a step and writes a line to its standard input every few seconds.
"""

from mnist_dist import exits

exits.begin(__name__)

import os
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_dist import bounded
from mnist_dist.errors import UsageError
from mnist_dist.launch import slurm_job
from mnist_dist.launch.decision import End, How
from mnist_dist.launch.slurm_ending import cancel
from mnist_dist.launch.slurm_job import say
from mnist_dist.launch.slurm_settings import Run, Settings
from mnist_dist.launch.slurm_supervisor import Supervisor
from mnist_dist.run.command import answer_help, answered

SILENT_S = 10.0
"""The shortest silence of the supervisor after which the batch host is probed."""

LOOK_S = 1.0
AGAIN_S = 10.0
MOST_BYTES = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Waits, and takes over if the batch host is lost.

    Args:
        argv: the job's log, empty if it has none; the trainer's flags, the script's own first.
    """
    return answered(lambda: _command(argv))


def _command(argv: Sequence[str]) -> int:
    if "SLURM_JOB_ID" not in os.environ or not argv:
        answer_help(argv, lambda: __doc__ or "")
        raise UsageError("SLURM_JOB_ID isn't set; launch/train.slurm starts this in its job")
    log, *flags = argv
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to all steps of the job
    run = Run.of(flags)
    watch = Watch(max(SILENT_S, run.peer_timeout_s))
    if not watch.lost():
        return 0
    return _take_over(watch.state, log, run)


def _take_over(state: dict[str, Any], log: str, run: Run) -> int:
    """Goes on with the run; returns the supervisor's exit code.

    Args:
        state: what the supervisor last said of the run.
        log: the job's; empty if it has none.
        run: the trainer's flags.
    """
    here = os.environ.get("SLURMD_NODENAME", "")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SLURM")
    }
    environment |= {**state["environment"], "SLURMD_NODENAME": here}
    job = slurm_job.of(environment, Path.cwd())
    try:
        if log:
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
        say(f"{state['batch']}, where this script ran, doesn't answer: {here} goes on in its place")
        ends = [
            End(rank, host, How.LOST if host == state["batch"] else How.FAILED)
            for rank, host in enumerate(state["hosts"])
        ]
        settings = Settings.read(environment, len(job.nodes))
        supervisor = Supervisor(job, settings, run, environment, batch=False)
        return supervisor.take_over(ends, state["losses"])
    except Exception as error:  # such as a full disk; the nodes mustn't be held idle
        say(f"{error}; to go on, submit the same again with {job.to_go_on}")
        cancel(job)
        raise


class Watch:
    """Reads standard input, and looks for the batch host when nothing comes.

    Args:
        silent_s: seconds without a line after which it looks. No worker of an earlier try is left
            then, if that is --peer_timeout.

    Attributes:
        state: what the supervisor last said of the run.
    """

    def __init__(self, silent_s: float) -> None:
        self.state: dict[str, Any] = {}
        self._silent_s = silent_s
        self._text = b""
        self._closed = False

    def lost(self) -> bool:
        """Waits; returns whether the batch host is lost, or else the supervisor has ended."""
        heard = time.monotonic()
        while not self.state.get("end"):
            if not self._closed and select.select([0], [], [], LOOK_S)[0]:
                self._read()
                heard = time.monotonic()
            elif self._closed or time.monotonic() - heard > self._silent_s:
                found = self._look()
                if found is not None:
                    return found
                heard = time.monotonic()
                time.sleep(AGAIN_S if self._closed else 0.0)
        return False

    def _read(self) -> None:
        received = os.read(0, MOST_BYTES)
        self._closed = not received
        *lines, self._text = (self._text + received).split(b"\n")
        for line in lines:
            self.state.update(bounded.loads(line.decode()))

    def _look(self) -> bool | None:
        """Whether the batch host is lost; None if that isn't known yet."""
        if not self.state:
            return False
        job = slurm_job.of(self.state["environment"], Path.cwd())
        state = slurm_job.state(job)
        if not state.name:  # this node may be the one that is cut off
            return None
        if state.name != "RUNNING":
            return False
        batch = self.state["batch"]
        if batch in state.nodes and slurm_job.answers(job.number, batch, os.environ):
            return None
        return True


if __name__ == "__main__":
    exits.end(main, needs_output=False)
