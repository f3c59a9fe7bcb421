"""Times whole recipes from process start to the first test evaluation at 99.0 % or more."""

import importlib.util
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.contest import ROOT
from benchmarks.ratios import ratio
from mnist_dist.devices.resources import available_cores
from mnist_dist.errors import RunError

GOAL_PERCENT = 99.0
SCORE = re.compile(r"^Test set: .*Accuracy: ([\d.]+)%")
RECIPES = {
    "fast.cfg": ("mnist_dist.train", "--no_gpu", "--flagfile=configs/fast.cfg"),
    "notebook.cfg": ("mnist_dist.train", "--no_gpu", "--flagfile=configs/notebook.cfg"),
    "PyTorch's example": ("benchmarks.contestants.torch_example",),
}
"""Name -> module and arguments."""


def run(seeds: int, limit_s: float) -> dict[str, Any]:
    """Trains each recipe with some seeds, prints a line for each and a table at the end."""
    missing = importlib.util.find_spec("torch") is None
    absent = [name for name in RECIPES if "PyTorch" in name and missing]
    names = [name for name in RECIPES if name not in absent]
    found: dict[str, list[float | None]] = {name: [] for name in names}
    chance = random.Random(0)  # noqa: S311
    for seed in range(seeds):
        for name in chance.sample(names, len(names)):
            seconds, best = reach(name, seed, limit_s)
            found[name].append(seconds)
            how = f"{GOAL_PERCENT} % after {seconds:.1f} s" if seconds else "not reached"
            print(f"{name}, seed {seed}: {how}, best {best:.2f} %", flush=True)
    print("\n".join(["", *table(found), *(f"| {name} | not installed | |" for name in absent)]))
    return {"title": "time to 99 %", "unit": "s", "seconds": found, "not_installed": absent}


def reach(name: str, seed: int, limit_s: float) -> tuple[float | None, float]:
    """Seconds from the start to the first score at GOAL_PERCENT, None without one; best score.

    Raises:
        RunError: the training failed.
    """
    words = [*RECIPES[name], f"--seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        if words[0] == "mnist_dist.train":
            words.append(f"--run_dir={folder}/run")
        else:
            words.append(f"--threads={len(available_cores()) or os.cpu_count()}")
        began_s = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", *words],
            **{"stdout": subprocess.PIPE, "text": True, "cwd": ROOT},
        )
        best, seconds = 0.0, None
        try:
            for line in process.stdout or ():
                taken_s = time.perf_counter() - began_s
                if score := SCORE.match(line):
                    best = max(best, float(score[1]))
                if best >= GOAL_PERCENT:
                    seconds = taken_s
                    break
                if taken_s > limit_s:  # looked at when a line comes, and they come often
                    break
            else:
                if process.wait():
                    raise RunError(f"{name} ended with exit code {process.returncode}")
        finally:
            process.kill()
            process.communicate()
    return seconds, best


def table(found: dict[str, list[float | None]]) -> list[str]:
    """Rows of medians, and of ratios to the first recipe over the seeds where both came there."""
    lines = ["| recipe | s to 99.0 %: by seed | times as long as fast.cfg (95 % interval) |"]
    lines += ["| --- | --- | --- |"]
    first = found[next(iter(RECIPES))]
    for name, taken in found.items():
        pairs = [(a, b) for a, b in zip(taken, first, strict=True) if a and b]
        times = ", ".join(f"{s:.1f}" if s else "not reached" for s in taken)
        middle = f"; median {statistics.median(a for a, _ in pairs):.1f}" if pairs else ""
        part = ratio(*map(list, zip(*pairs, strict=True))) if pairs else None
        told = f"{part.median:.2f} ({part.low:.2f} to {part.high:.2f})" if part else "none"
        lines.append(f"| {name} | {times}{middle} | {told} |")
    return lines
