"""Runs contestants in separate processes: compares their results, then times them in turns."""

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.job import Job
from benchmarks.order import abba
from mnist_dist.devices.resources import available_cores, divide, set_cores
from mnist_dist.errors import RunError
from mnist_dist.launch.processes import free_ports

ROOT = Path(__file__).resolve().parents[1]
AGREE = {"float32": 1e-4, "mixed_bfloat16": 5e-2}
"""By how much first losses of a precision may differ: sums in other orders, no other sums."""


class Contestant(NamedTuple):
    """Who computes.

    Attributes:
        name: in the table.
        module: of benchmarks.contestants.
        options: what the module understands beyond the job.
        processes: how many, each with its part of the cores.
        together: whether they share the global batch; else each has a part of its own, and
            its losses aren't those of the others.
        needs: the package without which it is left out.
        quick: whether --quick has it, too.
    """

    name: str
    module: str
    options: Mapping[str, Any] = {}
    processes: int = 1
    together: bool = True
    needs: str = ""
    quick: bool = True

    @property
    def installed(self) -> bool:
        """Whether it can run here."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


class Comparison(NamedTuple):
    """Contestants at one job; the first is what the others are compared with.

    Attributes:
        title: of the table.
        job: the work of a turn.
        contestants: who does it.
        unit: what a turn's milliseconds are divided by, such as steps: name and number.
        fresh: a turn is a start of new processes, to the end of their first turn.
        checked: compare first losses.
    """

    title: str
    job: Job
    contestants: Sequence[Contestant]
    unit: tuple[str, int]
    fresh: bool = False
    checked: bool = True


class Outcome(NamedTuple):
    """What was found, by contestant's name.

    Attributes:
        seconds: of each round, the mean of its two turns.
        start_s: from the processes' start to the end of their first turn, compilation in it.
        peak_bytes: the most memory, over a contestant's processes.
        losses: the first ones.
        absent: who isn't installed.
    """

    seconds: dict[str, list[float]]
    start_s: dict[str, float]
    peak_bytes: dict[str, int]
    losses: dict[str, list[float]]
    absent: list[str]


class Group:
    """A contestant's processes, which have their turns at once."""

    def __init__(self, contestant: Contestant, job: Job, folder: Path) -> None:
        self._name = contestant.name
        self._began_s = time.perf_counter()
        count = contestant.processes
        ports = tuple(free_ports(count)) if count > 1 else (0,)
        batch = job.batch if contestant.together else job.batch // count
        self._processes, self._errors = list[subprocess.Popen[str]](), list[Path]()
        before = available_cores()
        for rank, cores in enumerate(divide(before, count)):
            own = dataclasses.replace(
                job,
                batch=batch,
                rank=rank if contestant.together else 0,
                ports=ports if contestant.together else (0,),
                threads=max(len(cores), 1),
                options={**job.options, **contestant.options},
            )
            errors = folder / f"{time.monotonic_ns()}.stderr"
            self._errors.append(errors)
            module = f"benchmarks.contestants.{contestant.module}"
            set_cores(cores)  # inherited
            with errors.open("w") as stderr:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, own.to_json()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    cwd=ROOT,
                    env={**os.environ, "TMPDIR": str(folder)},  # what a killed one leaves
                )
            set_cores(before)
            self._processes.append(process)

    def answers(self) -> list[dict[str, Any]]:
        """One of each process.

        Raises:
            RunError: one has ended instead, with the end of what it wrote.
        """
        found = []
        for process, errors in zip(self._processes, self._errors, strict=True):
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                code = process.wait()
                said = " ".join(errors.read_text().split())[-600:]
                raise RunError(f"{self._name} ended with exit code {code}: {said}")
            found.append(json.loads(line))
        return found

    def ready(self) -> tuple[float, int]:
        """Waits for the first turn's end: seconds from the start to it, and peak memory."""
        answers = self.answers()
        return time.perf_counter() - self._began_s, max(a["peak_bytes"] for a in answers)

    def turn(self) -> tuple[float, int]:
        """A turn of all processes: the slowest one's seconds, and the most memory of one."""
        for process in self._processes:
            print(file=process.stdin, flush=True)
        answers = self.answers()
        return max(a["seconds"] for a in answers), max(a["peak_bytes"] for a in answers)

    def close(self) -> None:
        """Ends them."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()


def run(comparison: Comparison, rounds: int, seed: int, quick: bool = False) -> Outcome:
    """Compares the first losses, then times the contestants.

    Raises:
        RunError: the losses differ, and nothing was timed; or a contestant failed.
    """
    entered = [c for c in comparison.contestants if c.quick or not quick]
    absent = [c.name for c in entered if not c.installed]
    entered = [c for c in entered if c.installed]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        job = dataclasses.replace(comparison.job, weights=str(folder / "weights.npz"))
        writer = Contestant("the weights' writer", "limit", {"write_weights": True})
        with _started(writer, dataclasses.replace(job, precision="float32"), folder) as group:
            group.answers()
        losses = _first_losses(entered, job, folder) if comparison.checked else {}
        check(losses, AGREE[job.precision])
        outcome = Outcome({c.name: [] for c in entered}, {}, {}, losses, absent)
        orders = abba([c.name for c in entered], rounds, seed)
        by_name = {c.name: c for c in entered}
        if comparison.fresh:

            def turn(name: str) -> tuple[float, int]:
                with _started(by_name[name], job, folder) as group:
                    return group.ready()
        else:
            groups = {}
            for c in entered:  # one after another: their starts are timed, too
                groups[c.name] = stack.enter_context(_started(c, job, folder))
                outcome.start_s[c.name], outcome.peak_bytes[c.name] = groups[c.name].ready()

            def turn(name: str) -> tuple[float, int]:
                return groups[name].turn()

        for order in orders:
            taken: dict[str, list[float]] = {name: [] for name in by_name}
            for name in order:
                seconds, outcome.peak_bytes[name] = turn(name)
                taken[name].append(seconds)
            for name, both in taken.items():
                outcome.seconds[name].append(statistics.mean(both))
    return outcome


def check(losses: Mapping[str, Sequence[float]], tolerance: float) -> None:
    """Raises RunError where two contestants' first losses differ: they compute something else."""
    for (one, a), (other, b) in itertools.combinations(losses.items(), 2):
        apart = max(abs(x - y) for x, y in zip(a, b, strict=True))
        if not apart <= tolerance:  # a loss that is no number, too
            raise RunError(
                f"first losses of {one} {list(a)} and {other} {list(b)} are {apart:.2g} apart, "
                f"more than {tolerance:g}: they don't compute the same, and nothing was timed"
            )


def _first_losses(
    contestants: Sequence[Contestant], job: Job, folder: Path
) -> dict[str, list[float]]:
    """Of each whose batches are those of the others; two at a time, for nothing is timed."""
    job = dataclasses.replace(job, check=True)
    # A control computes what another one does.
    different = {(c.module, str(c.options)): c for c in reversed(contestants) if c.together}
    compared = list(reversed(different.values()))
    found = {}
    for begin in range(0, len(compared), 2):
        with contextlib.ExitStack() as stack:
            groups = [
                (c, stack.enter_context(_started(c, job, folder)))
                for c in compared[begin : begin + 2]
            ]
            for contestant, group in groups:
                found[contestant.name] = group.answers()[0]["losses"]
    return found


@contextlib.contextmanager
def _started(contestant: Contestant, job: Job, folder: Path) -> Iterator[Group]:
    group = Group(contestant, job, folder)
    try:
        yield group
    finally:
        group.close()
