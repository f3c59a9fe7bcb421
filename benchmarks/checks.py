"""Measures what the checks of bits cost: the notebook's network, with and without them.

    python -m benchmarks.checks [--batch_size=64] [--shards=0] [--virtual_devices=0] [--workers=1]

It prints a row of the table in docs/exact.md: for each interval between checks, the time of a step
divided by that without checks, the median and the range of rounds in alternating order; and how
long the loop waits at a save, with several replicas also for the comparison. The column without
checks, measured again, shows the noise. A run takes `--steps` steps and about 10 s to start, and
there are 5 runs a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INTERVALS = (0, 0, 1000, 100, 10)  # 0: no checks; the first is the reference
COLUMNS = ("", "step, ms", "repeated", "1,000", "100", "10", "save, ms", "of it comparison, ms")
ROOT = Path(__file__).parents[1]

ONE_RUN = """
import json, sys, time
from mnist_dist import train
with train.without_startup_messages():
    from mnist_dist.training.bit_checks import BitChecks
    from mnist_dist.training.loop import Loop

def timed(kind, name):
    own, taken = getattr(kind, name), []
    def call(*arguments):
        begun = time.perf_counter()
        done = own(*arguments)
        taken.append(time.perf_counter() - begun)
        return done
    setattr(kind, name, call)
    return taken

compared, saved = timed(BitChecks, "compare_copies"), timed(Loop, "save")
code = train.main(sys.argv[2:])
with open(sys.argv[1], "a") as file:
    print(json.dumps([compared, saved]), file=file)
sys.exit(code)
"""


WORKERS = """
import sys
from mnist_dist.launch.processes import LocalStarter
from mnist_dist.launch.workers import Workers
starter = LocalStarter(sys.argv[2:], int(sys.argv[1]))
sys.exit(Workers("checks", 20).run(lambda: starter.start(starter.hosts(again=False))))
"""


def measured(given: argparse.Namespace, every: int, folder: Path) -> dict[str, Any]:
    """One run: seconds of a step, and seconds of each comparison and save on worker 0."""
    flags = [
        *("--no_gpu", "--epochs=100", "--steps_per_loop=10", "--checkpoint_every_steps=100"),
        *(f"--max_steps={given.steps}", f"--batch_size={given.batch_size}", f"--run_dir={folder}"),
        *(f"--shards={given.shards}", f"--virtual_devices={given.virtual_devices}"),
        f"--check_every_steps={every}",
    ]
    program = [sys.executable, "-c", ONE_RUN, str(folder / "taken"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    folder.mkdir()
    if given.workers > 1:
        program = [sys.executable, "-c", WORKERS, str(given.workers), *program]
    subprocess.run(program, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (folder / "times.jsonl").read_text().splitlines())
    times = {line["step"]: line["seconds"] for line in lines}
    begun = min(step for step in times if step >= given.steps // 4)  # after warming up
    compared, saved = json.loads((folder / "taken").read_text().splitlines()[0])
    step_s = (times[given.steps] - times[begun]) / (given.steps - begun)
    return {"step_s": step_s, "compared_s": compared[1:], "saved_s": saved[1:]}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("batch_size", 64), ("shards", 0), ("virtual_devices", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("workers", 1), ("steps", 1200), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    found: list[list[dict[str, Any]]] = [[] for _ in INTERVALS]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            order = list(enumerate(INTERVALS))[:: -1 if number % 2 else 1]
            for index, every in order:
                place = Path(folder) / f"{number}-{index}"
                found[index].append(measured(given, every, place))
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    print(f"| {' | '.join(row(given, found))} |")


def row(given: argparse.Namespace, found: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The cells of the table.

    Args:
        given: the flags.
        found: for each of INTERVALS and each round, what `measured` has returned.
    """
    name = f"{given.workers} worker(s), batch {given.batch_size}"
    name += f", --shards={given.shards}" if given.shards else ""
    name += f", --virtual_devices={given.virtual_devices}" if given.virtual_devices else ""
    base = [one["step_s"] for one in found[0]]
    cells = [name, f"{1e3 * statistics.median(base):.2f}"]
    for runs in found[1:]:
        ratios = [one["step_s"] / without for one, without in zip(runs, base, strict=True)]
        cells.append(f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    for key in ("saved_s", "compared_s"):
        ms = [1e3 * one for runs in found for run in runs for one in run[key]]
        cells.append(f"{statistics.median(ms):.1f}")
    return cells


if __name__ == "__main__":
    main()
