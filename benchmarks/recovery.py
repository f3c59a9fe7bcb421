"""Seconds from a worker's death to the next training step, under a launcher that restarts.

    python -m benchmarks.recovery [--kills=20] [--how=local|ssh] [--hosts=n1,n2] [-- FLAGS]

Starts a training of two workers, a small network unless FLAGS say otherwise, with a checkpoint
every 20 steps. Each time a few steps have been trained, one worker gets SIGKILL, and the time to
the next line of a step in the log is taken. Prints each time, the median and the longest. With
`--how=ssh` the workers are killed on their hosts by ssh; the hosts have to share the run's folder,
which is a new one in the current folder.
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
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--no_gpu", "--conv_filters=2,4", "--dense_units=16", "--batch_size=48")
STEPS = ("--max_steps=0", "--epochs=100000", "--checkpoint_every_steps=20", "--steps_per_loop=5")
LOG = ("--log_interval=1", "--validation_size=500", "--peer_timeout=30")
BEFORE_KILL_S = (3.0, 6.0)  # of training between two kills
PATIENCE_S = 600.0


class Run:
    """A training under a launcher that restarts it."""

    def __init__(self, launcher: list[str], folder: Path, flags: list[str]) -> None:
        words = [*launcher, "--restarts=3", "--", *SMALL, *STEPS, *LOG, f"--run_dir={folder}"]
        self.process = subprocess.Popen(
            ["bash", *words, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"MNIST_DIST_PYTHON": sys.executable, **os.environ},
        )
        self._stepped = threading.Event()
        self._lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_step(self) -> None:
        """Returns at the next line of a step."""
        self._stepped.clear()
        end = time.monotonic() + PATIENCE_S
        while not self._stepped.wait(0.05):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit("".join(["no further step:\n", *self._lines[-20:]]))

    def wait_for_silence(self) -> None:
        """Returns when no line of a step has come for a second: what was under way is printed."""
        while True:
            self._stepped.clear()
            if not self._stepped.wait(1.0):
                return

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.append(line)
            if re.search(r"Batch #\d+", line):
                self._stepped.set()


def kill_local(run: Run, draw: random.Random) -> None:
    """Kills a worker, which is a child of the launcher."""
    draw.choice(psutil.Process(run.process.pid).children()).kill()


def kill_by_ssh(host: str) -> None:
    """Kills the worker on a host."""
    ssh = shlex.split(os.environ.get("MNIST_DIST_SSH", "ssh"))
    command = [*ssh, host, "pkill -KILL -f '[m]nist_dist.train'"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def measured(run: Run, kills: int, how: str, hosts: list[str]) -> list[float]:
    """Seconds from each kill to the next step."""
    draw, found = random.Random(0), list[float]()  # noqa: S311
    for number in range(kills):
        run.wait_for_step()
        time.sleep(draw.uniform(*BEFORE_KILL_S))
        began = time.monotonic()
        if how == "local":
            kill_local(run, draw)
        else:
            kill_by_ssh(hosts[number % len(hosts)])
        run.wait_for_silence()
        run.wait_for_step()
        found.append(time.monotonic() - began)
        print(f"kill {number + 1}: {found[-1]:.1f} s", flush=True)
    return found


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--how", choices=("local", "ssh"), default="local")
    parser.add_argument("--hosts", default="", help="of --how=ssh, with commas between")
    parser.add_argument("flags", nargs="*", help="after --: flags of mnist_dist.train")
    given = parser.parse_args()
    launcher = [f"{ROOT}/launch/local.sh", "-n", "2"]
    if given.how == "ssh":
        launcher = [f"{ROOT}/launch/ssh.sh", f"--hosts={given.hosts}"]
    with tempfile.TemporaryDirectory(prefix="recovery-", dir=".") as folder:
        run = Run(launcher, Path(folder, "run").absolute(), given.flags)
        try:
            found = measured(run, given.kills, given.how, given.hosts.split(","))
        finally:
            run.process.terminate()
            run.process.wait()
    print(
        f"{given.how}: {len(found)} kills, seconds to the next step: median "
        f"{statistics.median(found):.1f}, most {max(found):.1f}"
    )


if __name__ == "__main__":
    main()
