"""Measures what saving costs the training loop: the notebook's network, saved every 100 steps.

    python -m benchmarks.saving [--max_steps=1600] [--every=100]

In one run: how long the loop stands still for a save, what the writing thread takes of a core
meanwhile, and how much longer the block of steps that is trained while it writes takes than the
other one before the next save: two blocks a save.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_dist.config import Config
from mnist_dist.train import run

WARM = 4  # blocks that don't count


def timed(where: Any, name: str, clock: Callable[[], float]) -> list[float]:
    """Seconds that each call of a function will take, by some clock."""
    seconds, function = list[float](), getattr(where, name)

    def call(*arguments: Any) -> None:
        begun = clock()
        function(*arguments)
        seconds.append(clock() - begun)

    setattr(where, name, call)
    return seconds


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max_steps", type=int, default=1600)
    parser.add_argument("--every", type=int, default=100)
    given = parser.parse_args()
    from mnist_dist.run import store
    from mnist_dist.training.loop import Loop

    stalls = timed(Loop, "save", time.perf_counter)
    written = timed(store, "publish", time.thread_time)
    with tempfile.TemporaryDirectory() as folder:
        flags = {"max_steps": given.max_steps, "epochs": 100, "steps_per_loop": given.every // 2}
        run(Config(no_gpu=True, checkpoint_every_steps=given.every, run_dir=folder, **flags))
        lines = map(json.loads, (Path(folder) / "times.jsonl").read_text().splitlines())
        times = {line["step"]: line["seconds"] for line in lines}
    half, pairs = given.every // 2, list(itertools.pairwise(sorted(times)))
    blocks = {b: times[b] - times[a] for a, b in pairs[WARM:] if b - a == half}
    while_writing = [s for step, s in blocks.items() if step % given.every == half]
    without = [s for step, s in blocks.items() if step % given.every == 0]
    period = statistics.median(while_writing) + statistics.median(without)
    stall, slower = statistics.median(stalls), statistics.median(while_writing)
    slower -= statistics.median(without)
    print(f"{len(stalls)} saves, one each {period:.2f} s of training ({given.every} steps)")
    print(f"the loop stands still for {1000 * stall:.1f} ms: {100 * stall / period:.2f} %")
    cpu = statistics.median(written)
    print(f"the thread takes {1000 * cpu:.0f} ms of one core: {100 * cpu / period:.2f} %")
    print(f"the block meanwhile takes {1000 * slower:+.0f} ms: {100 * slower / period:+.2f} %")


if __name__ == "__main__":
    main()
