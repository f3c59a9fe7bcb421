"""Seconds from a worker's death to the next training step, under a launcher that restarts.

    python -m benchmarks.recovery [--kills=20] [--how=local|ssh|slurm] [--hosts=n1,n2]
        [--signal=KILL|STOP] [-- FLAGS]

Starts a training of two workers, a small network unless FLAGS say otherwise, with a checkpoint
every 20 steps. When it has saved a checkpoint, one worker gets SIGKILL after a random time, and the
time until the log's next line of a step is taken; then the same with the other worker, and a new
training begins. Prints each time, the median and the longest.

--signal=STOP stops the worker instead, so that it is there and silent; the others notice that after
--peer_timeout, 30 s unless FLAGS say otherwise, and these seconds are part of the figures.

--how=ssh starts launch/ssh.sh and kills the workers on --hosts by ssh. --how=slurm submits
launch/train.slurm with two nodes and kills the tasks by srun; give the partition, account and the
like as SBATCH_PARTITION, SBATCH_ACCOUNT ... The hosts have to share the run's folder, which is a
new one in the current folder, and to agree on the time. Without a cluster:

    python -m tests.lab slurm -- python -m benchmarks.recovery --how=slurm
    python -m tests.lab ssh -- python -m benchmarks.recovery --how=ssh --hosts=n1,n2
"""

import argparse
import os
import random
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.kill_worker import kill_worker
from mnist_dist.cluster.hostlist import expand_hostlist
from mnist_dist.launch import slurm_job
from mnist_dist.run import store

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--no_gpu", "--conv_filters=2,4", "--dense_units=16", "--batch_size=48")
STEPS = ("--max_steps=0", "--epochs=100000", "--checkpoint_every_steps=20", "--steps_per_loop=5")
LOG = ("--log_interval=5", "--log_every_s=0", "--validation_size=500", "--peer_timeout=30")
RESUMED, STEP = r"Goes on from .*, global step \d+", r"Batch #\d+"
BEFORE_KILL_S = (0.0, 2.0)
PATIENCE_S = 600.0
POLL_S = 0.05
ASK_S = 5.0
WORKERS = 2


class Training(Protocol):
    """A training of two workers that was started."""

    def running(self) -> bool:
        """Whether it hasn't ended."""

    def kill(self, number: int) -> float:
        """Kills a worker, another one for each number; returns seconds since 1970 at the kill."""

    def end(self) -> None:
        """Ends it; returns when it has ended."""


class Script:
    """A training under launch/local.sh or launch/ssh.sh.

    Args:
        words: the script with its arguments.
        hosts: of ssh.sh; none for local.sh.
        folder: for the log and the run.
        flags: of the trainer.
        signal_name: what a worker gets, KILL or STOP.
    """

    def __init__(
        self,
        words: Sequence[str],
        hosts: Sequence[str],
        folder: Path,
        flags: Sequence[str],
        signal_name: str,
    ) -> None:
        self._hosts, self._run_dir, self._signal = hosts, folder / "run", signal_name
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["bash", *words, "--restarts=3", "--", f"--run_dir={self._run_dir}", *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"MNIST_DIST_PYTHON": sys.executable, **os.environ},
            )

    def running(self) -> bool:
        """As `Training.running`."""
        return self._process.poll() is None

    def kill(self, number: int) -> float:
        """As `Training.kill`."""
        if self._hosts:
            ssh = shlex.split(os.environ.get("MNIST_DIST_SSH", "ssh"))
            words = shlex.join(killing(self._run_dir, number, self._signal))
            command = f"cd {shlex.quote(str(ROOT))} && {words}"
            return killed_on_one([[*ssh, host, command] for host in in_turn(self._hosts, number)])
        killed_at = kill_worker(str(self._run_dir), number, self._signal)
        if killed_at is None:
            raise SystemExit(f"no worker of {self._run_dir} runs here")
        return killed_at

    def end(self) -> None:
        """As `Training.end`."""
        self._process.terminate()
        self._process.wait()


class SlurmJob:
    """A training under launch/train.slurm.

    Args:
        folder: for the log and the run.
        flags: of the trainer.
        signal_name: what a task gets, KILL or STOP.
    """

    def __init__(self, folder: Path, flags: Sequence[str], signal_name: str) -> None:
        self._run_dir, self._signal = folder / "run", signal_name
        variables = {
            "MNIST_DIST_PYTHON": sys.executable,
            **os.environ,
            "MNIST_DIST_RUN_DIR": str(self._run_dir),
        }
        words = ("--parsable", f"--nodes={WORKERS}", f"--chdir={ROOT}", f"--output={folder}/log")
        self._job = subprocess.run(
            ["sbatch", *words, f"{ROOT}/launch/train.slurm", *flags],
            env=variables,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
        self._asked, self._there = time.monotonic(), True

    def running(self) -> bool:
        """As `Training.running`; asks SLURM every few seconds."""
        if time.monotonic() - self._asked > ASK_S:
            self._asked, self._there = time.monotonic(), bool(self._ask("%i"))
        return self._there

    def kill(self, number: int) -> float:
        """As `Training.kill`."""
        command = killing(self._run_dir, number, self._signal)
        hosts = expand_hostlist(self._ask("%N"))
        start = f"--chdir={ROOT}"
        return killed_on_one(
            [
                [*slurm_job.overlapping(self._job, host), start, *command]
                for host in in_turn(hosts, number)
            ]
        )

    def end(self) -> None:
        """As `Training.end`."""
        subprocess.run(["scancel", self._job], check=True)
        while self._ask("%i"):
            time.sleep(POLL_S)

    def _ask(self, what: str) -> str:
        """A field of squeue's line about the job; empty if the job has ended."""
        return slurm_job.answer("squeue", "--noheader", f"--jobs={self._job}", "-o", what).strip()


def in_turn(hosts: Sequence[str], number: int) -> list[str]:
    """All hosts, beginning with another one for each number."""
    first = number % len(hosts)
    return [*hosts[first:], *hosts[:first]]


def killing(run_dir: Path, number: int, signal_name: str) -> list[str]:
    """The command that kills or stops a worker on the host where it runs."""
    module = "benchmarks.kill_worker"
    return [sys.executable, "-m", module, str(run_dir), str(number), signal_name]


def killed_on_one(commands: Sequence[Sequence[str]]) -> float:
    """Runs commands until one has killed a worker; returns seconds since 1970 at the kill."""
    for command in commands:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode == 0:
            return float(done.stdout.split()[-1])
    raise SystemExit(f"no worker could be killed:\n{done.stderr}")


class Log:
    """A log that grows, read line by line.

    Args:
        path: of the log, which may not exist yet.
        running: whether anybody writes to it.
    """

    def __init__(self, path: Path, running: Callable[[], bool]) -> None:
        self._path, self._running = path, running
        self._read, self._partial = 0, ""
        self._last = list[str]()

    def skip(self) -> None:
        """Reads all that is there."""
        self._lines()

    def wait_for(self, *patterns: str) -> None:
        """Returns when further lines have come that match the patterns, in this order."""
        end = time.monotonic() + PATIENCE_S
        left = list(patterns)
        while left:
            for line in self._lines():
                if left and re.search(left[0], line):
                    left.pop(0)
            if left and (not self._running() or time.monotonic() > end):
                raise SystemExit("\n".join([f"no line '{left[0]}' in the log:", *self._last]))
            time.sleep(POLL_S)

    def _lines(self) -> list[str]:
        """The whole lines that have come since the last call."""
        if not self._path.exists():
            return []
        with self._path.open(errors="replace", newline="") as file:
            file.seek(self._read)
            text = self._partial + file.read()
            self._read = file.tell()
        *lines, self._partial = text.split("\n")
        self._last = [*self._last, *lines][-20:]
        return lines


def measured(
    training: Training, folder: Path, numbers: Sequence[int], draw: random.Random
) -> list[float]:
    """Seconds from each kill to the next step.

    Args:
        training: has been started.
        folder: of its log and run.
        numbers: of the kills.
        draw: of the time before a kill.
    """
    log = Log(folder / "log", training.running)
    found, step = list[float](), 0
    for number in numbers:
        log.wait_for(STEP)
        while (newest := newest_step(folder / "run/checkpoints")) <= step:
            log.wait_for(STEP)  # otherwise the restarts would be without progress
        step = newest
        time.sleep(draw.uniform(*BEFORE_KILL_S))
        log.skip()
        killed_at = training.kill(number)
        log.wait_for(RESUMED, STEP)
        found.append(time.time() - killed_at)
        print(f"{number + 1}: {found[-1]:.1f} s", flush=True)
    return found


def newest_step(checkpoints: Path) -> int:
    """The global step of the newest whole checkpoint; 0 if there is none."""
    saved, _ = store.newest(checkpoints)
    return saved.step if saved else 0


def started(given: argparse.Namespace, folder: Path) -> Training:
    """Starts the training that the command line asks for."""
    flags = [*SMALL, *STEPS, *LOG, *given.flags]
    if given.how == "slurm":
        return SlurmJob(folder, flags, given.signal)
    words, hosts = [f"{ROOT}/launch/local.sh", "-n", str(WORKERS)], list[str]()
    if given.how == "ssh":
        words = [f"{ROOT}/launch/ssh.sh", f"--hosts={given.hosts}"]
        hosts = given.hosts.split(",")
    return Script(words, hosts, folder, flags, given.signal)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--how", choices=("local", "ssh", "slurm"), default="local")
    parser.add_argument("--hosts", default="", help="of --how=ssh, with commas between")
    parser.add_argument("--signal", choices=("KILL", "STOP"), default="KILL")
    parser.add_argument("flags", nargs="*", help="after --: flags of mnist_dist.train")
    given = parser.parse_args()
    if (given.how == "ssh") != bool(given.hosts):
        parser.error("--hosts belongs to --how=ssh, which needs it")
    draw, found, numbers = random.Random(0), list[float](), range(given.kills)  # noqa: S311
    # A host that loses a worker twice is left out: so each training loses one on each host.
    for first in numbers[::WORKERS]:
        with tempfile.TemporaryDirectory(prefix="recovery-", dir=".") as name:
            folder = Path(name).absolute()
            training = started(given, folder)
            try:
                found += measured(training, folder, numbers[first : first + WORKERS], draw)
            finally:
                training.end()
    print(
        f"{given.how}, SIG{given.signal}: {len(found)} times, seconds to the next step: median "
        f"{statistics.median(found):.1f}, most {max(found):.1f}"
    )


if __name__ == "__main__":
    main()
