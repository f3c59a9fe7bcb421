"""Times variants of one training step in ms; they are compiled side by side and timed in turns.

    python benchmarks/gpu_steps.py [--cpu] [--kernels]

A process for each group of variants says when it has compiled, and waits for its turn. --kernels
adds where a step's time on the card goes, as TensorFlow's profiler saw it; --cpu tries the script
itself out.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

BLOCK_STEPS = 50
CALLS = 6
FAST, ACCURATE = "--flagfile=configs/fast.cfg", "--flagfile=configs/accurate.cfg"
GROUPS: list[list[str]] = [
    [f"--batch_size={batch} --xla=on" for batch in (64, 256, 1024)],
    [f"--batch_size={batch} --xla=off" for batch in (64, 256, 1024)],
    [f"--batch_size={batch} --xla=off --data_format=channels_last" for batch in (64, 1024)],
    [f"--batch_size={batch} --xla=on --nondeterministic" for batch in (64, 256, 1024)],
    [f"--batch_size={batch} --xla=off --nondeterministic" for batch in (64, 256, 1024)],
    [
        f"--batch_size={batch} --xla=on --precision={precision}"
        for precision in ("tf32", "mixed_bfloat16")
        for batch in (64, 1024)
    ],
    [
        f"--batch_size={batch} --xla=off --precision={precision}"
        for precision in ("tf32", "mixed_bfloat16")
        for batch in (64, 1024)
    ],
    [f"{FAST} --xla=on", f"{FAST} --xla=off"],
    [f"{ACCURATE} --precision=float32 --xla={xla}" for xla in ("on", "off")],
    [f"{ACCURATE} --precision=tf32 --xla={xla}" for xla in ("on", "off")],
    *(
        [
            f"--virtual_devices={devices} --gpu_memory_mib=12288 --batch_size={batch} --xla={xla}"
            for batch in (64, 256, 1024)
            for xla in ("on", "off")
        ]
        for devices in (2, 4)
    ),
]
SMALL = "--no_gpu --conv_filters=4 --dense_units=8"
QUICK = [
    [f"{SMALL} --xla=on", f"{SMALL} --xla=off"],
    [f"{FAST} {SMALL}"],
    [f"{SMALL} --virtual_devices=2 --xla=on", f"{SMALL} --virtual_devices=2 --xla=off"],
]


class Variant(NamedTuple):
    """A compiled step."""

    flags: str
    train: Any
    arguments: tuple[Any, ...]
    steps: int
    start_s: float
    loss: float

    def ms(self) -> float:
        """Of one step, over a block."""
        before = time.perf_counter()
        self.train(*self.arguments).numpy()
        return 1e3 * (time.perf_counter() - before) / self.steps


def child(group: list[str], block_steps: int, kernels: bool) -> None:
    """Compiles a group's variants, waits for a line of input, and prints ms a step of each."""
    from mnist_dist.devices.startup_messages import without_startup_messages

    with without_startup_messages():  # with what the program sets before it imports TensorFlow
        import numpy as np
        import tensorflow as tf

    from mnist_dist import assembly, flags
    from mnist_dist.data import sources
    from mnist_dist.devices import resources, strategy, visible
    from mnist_dist.devices.replica_placement import ReplicaPlacement
    from mnist_dist.training import step_records

    configs = [flags.parse(text.split()) for text in group]
    names = visible.local_devices(assembly.wanted(configs[0]), 1)
    built = strategy.build(assembly.wanted(configs[0]), names, (), 0, resources.cores())
    data = sources.load(*configs[0].data_flags)
    variants: list[Variant] = []
    for text, config in zip(group, configs, strict=True):
        placement = ReplicaPlacement(built.strategy, names, 0)
        started = time.perf_counter()
        made = assembly.assemble(config, data, built, block_steps=block_steps)
        steps = made.steps
        block = assembly.blocks(config, made.trainset, placement, built.kind)(range(block_steps))
        rates = tf.constant(np.full(block_steps, 0.01), steps.dtype)
        arguments = block, rates, tf.constant(block_steps), tf.constant(0.0, steps.dtype)
        try:
            records = steps.train(*arguments).numpy()
        except tf.errors.OpError as error:
            print(f"| {text} | failed: {' '.join(error.message.split())[:300]} |")
            continue
        taken_s = time.perf_counter() - started
        last = step_records.unpack(records, range(block_steps))[-1]
        variants.append(Variant(text, steps.train, arguments, block_steps, taken_s, last.loss))
    print("ready", flush=True)
    sys.stdin.readline()
    for variant in variants:
        taken = sorted(variant.ms() for _ in range(CALLS))
        print(
            f"| `{variant.flags}` | {taken[0]:.3f} | {taken[CALLS // 2]:.3f} "
            f"| {variant.start_s:.1f} | {variant.loss:.6f} |",
            flush=True,
        )
        if kernels:
            _kernels(variant)


def _kernels(variant: Variant) -> None:
    """Prints what one block spends its time on the card in."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    totals: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        variant.ms()
        tf.profiler.experimental.stop()
        for path in Path(folder).rglob("*.xplane.pb"):
            space = xplane_pb2.XSpace()
            space.ParseFromString(path.read_bytes())
            for plane in space.planes:
                for line in plane.lines if plane.name.startswith("/device:GPU") else ():
                    for event in line.events if "Stream" in line.name else ():
                        name = plane.event_metadata[event.metadata_id].name
                        entry = totals.setdefault(name, [0.0, 0])
                        entry[0] += event.duration_ps / 1e6
                        entry[1] += 1
    whole = sum(us for us, _ in totals.values()) / variant.steps
    number = sum(count for _, count in totals.values()) / variant.steps
    print(f"    on the card {whole / 1e3:.3f} ms in {number:.0f} kernels and copies a step")
    for name, (us, count) in sorted(totals.items(), key=lambda item: -item[1][0])[:12]:
        print(f"    {us / variant.steps:7.1f} us, {count / variant.steps:6.1f} times: {name[:90]}")
    sys.stdout.flush()


def main() -> None:
    """Starts all groups, and lets one after another measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--group", type=int, default=-1)
    given = parser.parse_args()
    groups = QUICK if given.cpu else GROUPS
    if given.group >= 0:
        child(groups[given.group], 2 if given.cpu else BLOCK_STEPS, given.kernels)
        return
    print("| flags | best ms | median ms | s to start | loss |\n| --- | --- | --- | --- | --- |")
    children = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], f"--group={number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(len(groups))
    ]
    for process in children:  # all have compiled before any is timed
        for line in iter(process.stdout.readline, "") if process.stdout else ():
            if line == "ready\n":
                break
            print(line, end="", flush=True)
    for process in children:
        print(process.communicate("go\n")[0], end="", flush=True)


if __name__ == "__main__":
    main()
