"""Kills a training at random many times, and compares its result with an undisturbed one.

    python -m benchmarks.soak --kills=100 [--workers=3] [--seed=0] [--max_steps=600]

One, two and three workers in turn under launch/local.sh, a small network. At random moments, of
start-up too, one, two or all of them get SIGKILL; among these are stops (SIGTERM, saved and left)
and suspensions (SIGSTOP to all, then SIGCONT). What ended is started again with the same command. A
run that comes to its end must have the metrics.jsonl and the weights of the run of as many workers
that nobody touched; then the next one begins, till there were as many kills as asked for. Prints a
line a kill and a summary; exit code 1 where a run differs.
"""

import argparse
import collections
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from mnist_dist.run import store

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--no_gpu", "--conv_filters=2,4", "--dense_units=16", "--batch_size=48")
SAVING = ("--checkpoint_every_s=1", "--log_interval=1", "--steps_per_loop=5", "--peer_timeout=10")
POLL_S, SOON_S = 0.1, 15.0
SUSPENDED_S = 12.0  # longer than --peer_timeout
EXIT_USAGE, EXIT_SAVED = 2, 75


class Try:
    """The command, started in a folder."""

    def __init__(self, folder: Path, workers: int, max_steps: int) -> None:
        folders = [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
        flags = [*SMALL, *SAVING, f"--max_steps={max_steps}", "--epochs=1000", *folders]
        launcher = ["bash", f"{ROOT}/launch/local.sh", "-n", str(workers), "--grace=5", "--"]
        self.started = time.monotonic()
        self.first_step_s: float | None = None
        self.step = 0  # the last that it said it had done
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*launcher, *flags],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
            env={**os.environ, "MNIST_DIST_PYTHON": sys.executable},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def workers(self) -> list[psutil.Process]:
        """The trainers that are there."""
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it ended within that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join()
        return True

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line)
            batch = re.search(r"Batch #(\d+)", line)  # counted in the first epoch, which is longer
            if batch:
                self.step = int(batch[1]) + 1
                self.first_step_s = self.first_step_s or time.monotonic() - self.started


def saved_step(folder: Path) -> int:
    """The step of the newest whole checkpoint; 0 if there is none."""
    saved, _ = store.newest(folder / "ck")
    return saved.step if saved else 0


def outcome(folder: Path) -> tuple[bytes, str]:
    """The curve and the weights' digest of a run that came to its end."""
    result = json.loads((folder / "out/result.json").read_text())
    return (folder / "out/metrics.jsonl").read_bytes(), result["weights_sha256"]


def disturb(attempt: Try, kind: str, draw: random.Random) -> int:
    """Kills, stops or suspends; returns how many workers were killed."""
    workers = attempt.workers()
    if kind == "stop":
        attempt.process.send_signal(signal.SIGTERM)
        return 0
    victims = draw.sample(workers, draw.randint(1, len(workers))) if workers else []
    signals = (signal.SIGKILL,) if kind == "kill" else (signal.SIGSTOP, signal.SIGCONT)
    for number in signals:
        for worker in workers if kind == "suspend" else victims:
            try:
                worker.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        if number == signal.SIGSTOP:
            time.sleep(SUSPENDED_S)
    return len(victims) if kind == "kill" else 0


class Soak:
    """What the kills cost, over all runs."""

    def __init__(self, kills: int, max_steps: int, seed: int) -> None:
        self.victims, self.lost, self.back_s = list[int](), list[int](), list[float]()
        self.starts = 0
        self.kinds = collections.Counter[str]()
        self._kills, self._max_steps = kills, max_steps
        self._draw = random.Random(seed)  # noqa: S311
        self._longest_s = dict[int, float]()  # by the number of workers

    @property
    def enough(self) -> bool:
        """Whether there were as many kills as asked for."""
        return len(self.victims) >= self._kills

    def alone(self, folder: Path, workers: int) -> tuple[bytes, str]:
        """The run that nobody touches."""
        attempt = self._start(folder, workers)
        attempt.wait()
        if attempt.process.returncode:
            raise SystemExit("".join(attempt.lines[-20:]))
        self._longest_s[workers] = time.monotonic() - attempt.started
        text = f"{self._max_steps} steps, {self._longest_s[workers]:.0f} s"
        print(f"{workers} worker(s) left alone: {text}", flush=True)
        return outcome(folder)

    def run(self, folder: Path, workers: int) -> tuple[bytes, str]:
        """A run that is disturbed till it comes to its end, or there were enough kills."""
        killed = 0
        while True:
            attempt, after_a_kill = self._start(folder, workers), killed
            killed = self._disturbed(attempt, folder, self._longest_s[workers])
            if after_a_kill and attempt.first_step_s is not None:
                self.back_s.append(attempt.first_step_s)
            code = attempt.process.returncode
            if code == 0:
                return outcome(folder)
            if code == EXIT_USAGE:
                raise SystemExit("".join(attempt.lines[-20:]))
            if not killed and code != EXIT_SAVED:
                print(f"ended by itself, exit code {code}: {attempt.lines[-1:]}", flush=True)

    def _start(self, folder: Path, workers: int) -> Try:
        self.starts += 1
        return Try(folder, workers, self._max_steps)

    def _ended_before(self, attempt: Try, longest_s: float) -> bool:
        """Waits for a moment: of the whole run, or, in half of the cases, soon after a step."""
        if self._draw.random() < 0.5:
            return attempt.wait(self._draw.uniform(0.5, longest_s))
        while attempt.first_step_s is None:
            if attempt.wait(POLL_S):
                return True
        return attempt.wait(self._draw.uniform(0.0, SOON_S))

    def _disturbed(self, attempt: Try, folder: Path, longest_s: float) -> int:
        """Returns when a try has ended; how many of its workers were killed."""
        while not self.enough and not self._ended_before(attempt, longest_s):
            kind = self._draw.choices(["kill", "stop", "suspend"], [8, 1, 1])[0]
            self.kinds[kind] += 1
            killed = disturb(attempt, kind, self._draw)
            if killed:
                attempt.wait()
                self.victims.append(killed)
                self.lost.append(max(attempt.step - saved_step(folder), 0))
                text = f"{killed} worker(s), {self.lost[-1]} steps lost"
                print(f"kill {len(self.victims)}: {text}", flush=True)
                return killed
        attempt.wait()
        return 0


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max_steps", type=int, default=600)
    given = parser.parse_args()
    soak = Soak(given.kills, given.max_steps, given.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        expected, runs, wrong = dict[int, tuple[bytes, str]](), 0, 0
        while not soak.enough:
            workers = runs % given.workers + 1
            if workers not in expected:
                expected[workers] = soak.alone(Path(folder) / f"alone-{workers}", workers)
            runs += 1
            found = soak.run(Path(folder) / f"run-{runs}", workers)
            for what, a, b in zip(("curve", "weights"), found, expected[workers], strict=True):
                if a != b:
                    wrong += 1
                    print(f"run {runs}: another {what} than the run left alone", flush=True)
            print(f"run {runs} of {workers} worker(s) came to its end", flush=True)
    kinds = [f"{soak.victims.count(n)} of {n} worker(s)" for n in sorted({*soak.victims})]
    others = f"{soak.kinds['stop']} stops, {soak.kinds['suspend']} suspensions"
    print(f"{len(soak.victims)} kills ({', '.join(kinds)}), {others}, {runs} runs")
    print(
        f"curve and weights: {'NOT the same' if wrong else 'the same as left alone, in all bits'}"
    )
    print(f"steps lost per kill: median {statistics.median(soak.lost):g}, most {max(soak.lost)}")
    if soak.back_s:
        middle, most = statistics.median(soak.back_s), max(soak.back_s)
        print(f"seconds from a start to its first step: median {middle:.1f}, most {most:.1f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
