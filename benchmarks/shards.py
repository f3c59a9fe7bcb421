"""What --shards costs on this machine, against the undivided batch.

    python benchmarks/shards.py [--rounds=5] [--images=2560] [--batches=64,256,1024]

The notebook's network in float32, one replica with all cores. Each variant is a process of its own
that trains on that many images when it is told to; they take turns, so that a slow moment of the
machine meets all of them, and the others sleep meanwhile. The ratio is that of medians to
--shards=0.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK_STEPS = 10


def serve(batch_size: int, shards: int, steps: int) -> None:
    """Trains `steps` steps for each line on standard input; answers with the ms a step."""
    import time

    from mnist_dist.config import Config
    from mnist_dist.devices.quiet import without_greetings

    with without_greetings():
        import tensorflow as tf

        from mnist_dist import parts
        from mnist_dist.cluster import session, topology
        from mnist_dist.data import sources
        from mnist_dist.data.pipeline import Trainset
        from mnist_dist.training import state
        from mnist_dist.training.steps import Steps
    config = Config(no_gpu=True, batch_size=batch_size, shards=shards)
    where = topology.from_environment({}, "none")
    data = sources.load(config.data_dir, "", config.validation_size)
    with session.join(parts.wanted(config), parts.terms(config), where) as joined:
        devices = joined.devices
        order = parts.order(config, data)
        trainset = Trainset(data.train, order, 1, 1, BLOCK_STEPS, shards)
        how = parts.arithmetic(config, devices, config.precision)
        trained = state.build(
            devices.strategy, parts.architecture(config, data, how), parts.rule(config)
        )
        step = Steps(devices.strategy, trained, parts.settings(config))
        block = joined.placement.place(lambda _: trainset.block(range(BLOCK_STEPS), 0))
        rates = tf.fill([BLOCK_STEPS], tf.constant(config.lr, step.dtype))

        def train(count: int) -> None:
            step.train(block, rates, tf.constant(count), tf.zeros([], step.dtype)).numpy()

        train(BLOCK_STEPS)
        print("ready", flush=True)
        for _ in sys.stdin:
            train(1)  # the caches are the last one's
            started = time.perf_counter()
            for done in range(0, steps, BLOCK_STEPS):
                train(min(BLOCK_STEPS, steps - done))
            print((time.perf_counter() - started) * 1e3 / steps, flush=True)


def main() -> None:
    """Runs all variants and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--batches", default="64,256,1024")
    parser.add_argument("--shards", default="2,4,8")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(*json.loads(given.serve))
        return
    print("| batch | shards | ms a step: least, median, most | ratio |\n| --- | --- | --- | --- |")
    counts = [0, *map(int, given.shards.split(","))]
    for batch_size in map(int, given.batches.split(",")):
        table(batch_size, counts, given.rounds, max(given.images // batch_size, 3))


def table(batch_size: int, counts: list[int], rounds: int, steps: int) -> None:
    """The rows of one batch size."""
    started = {}
    for shards in counts:
        started[shards] = subprocess.Popen(
            [sys.executable, __file__, f"--serve=[{batch_size}, {shards}, {steps}]"],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT},
        )
    found: dict[int, list[float]] = {shards: [] for shards in counts}
    for process in started.values():
        process.stdout.readline()  # "ready"
    for _ in range(rounds):
        for shards, process in started.items():
            print(file=process.stdin, flush=True)
            found[shards].append(float(process.stdout.readline()))
    for process in started.values():
        process.stdin.close()
        process.wait()
    first = statistics.median(found[0])
    for shards, taken in found.items():
        middle = statistics.median(taken)
        spread = f"{min(taken):.1f}, {middle:.1f}, {max(taken):.1f}"
        print(f"| {batch_size} | {shards} | {spread} | {middle / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
