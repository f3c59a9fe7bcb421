"""Runs of the real program on real MNIST, to be compared."""

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests import warm

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    *("--no_gpu", "--conv_filters=8,16", "--dense_units=64", "--validation_size=500"),
    *("--log_interval=1", "--max_steps=200", "--connect_timeout=100"),
)
"""The notebook's recipe, dropout included, on a small network of the same parts."""
SLOW_BFLOAT16 = "avx512_bf16" not in Path("/proc/cpuinfo").read_text()
"""It takes 7 times as long as float32 on such a CPU."""
SEVERAL = """
import json, sys
from mnist_dist.train import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    if code:
        sys.exit(code)
"""
LOCAL = """
import subprocess, sys
from mnist_dist.launch.processes import LocalStarter
from mnist_dist.launch.supervisor import Rules, supervise
from mnist_dist.launch.workers import Workers
from tests import warm
subprocess.Popen = warm.Popen
starter = LocalStarter(sys.argv[2:], int(sys.argv[1]))
sys.exit(supervise(Workers("tests", 20), starter, Rules("tests")))
"""


class Run(NamedTuple):
    """A finished run.

    Attributes:
        losses: of each step, in order.
        result: result.json.
        folder: that holds ck/ and out/.
    """

    losses: list[float]
    result: dict
    folder: Path


def train(folder, *flags, workers=1, prefix=()):
    """One run with SMALL and `flags`, in processes of its own.

    `prefix` stands in the place of `-m mnist_dist.train`.
    """
    arguments = _arguments(folder, flags)
    command = [sys.executable, *(prefix or ("-m", "mnist_dist.train")), *arguments]
    if workers > 1:
        command = [sys.executable, "-c", LOCAL, str(workers), *command]
    _run(command)
    return finished(folder)


def train_each(folder, cases, *flags, program=SEVERAL):
    """The runs of several cases (name -> flags) on the same devices, in one process."""
    if not cases:
        return {}
    several = [_arguments(folder / name, [*flags, *case]) for name, case in cases.items()]
    _run([sys.executable, "-c", program, json.dumps(several)])
    return {name: finished(folder / name) for name in cases}


def train_on(topology, folder, cases, *flags):
    """The runs of several cases on (devices of a worker, workers)."""
    devices, workers = topology
    flags = (*flags, f"--virtual_devices={devices}")
    if workers > 1:
        return {
            name: train(folder / name, *flags, *case, workers=workers)
            for name, case in cases.items()
        }
    slow = {name: case for name, case in cases.items() if not warm.with_one_dnn(case)}
    fast = {name: case for name, case in cases.items() if name not in slow}
    # TensorFlow takes oneDNN or leaves it when it is loaded.
    return {**train_each(folder, fast, *flags), **train_each(folder, slow, *flags)}


@contextlib.contextmanager
def two_at_a_time(wanted, on):
    """Runs `on(topology)` for each that is wanted, on a core each.

    Yields a function of topology and case, which gives the run.
    """
    with ThreadPoolExecutor(max_workers=2) as two:
        waiting = {topology: two.submit(on, topology) for topology in wanted}
        yield lambda topology, case: waiting[topology].result()[case]
        for future in waiting.values():
            future.cancel()


def finished(folder):
    """What a run left; each step once and in order."""
    rows = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["loss"] for row in rows if row["split"] == "train"}
    assert list(losses) == list(range(1, len(losses) + 1)), "steps missing, twice or out of order"
    assert sum(row["split"] == "train" for row in rows) == len(losses)
    return Run(list(losses.values()), json.loads((folder / "out/result.json").read_text()), folder)


def apart(a, b, steps=None):
    """The largest difference between two runs' losses, which must have the same steps."""
    assert len(a.losses) == len(b.losses)
    pairs = list(zip(a.losses, b.losses, strict=True))
    return max(abs(x - y) for x, y in pairs[:steps])


def images_apart(a, b):
    """By how many of the 10,000 test images two runs differ in score."""
    return abs(round(10_000 * (a.result["test_accuracy"] - b.result["test_accuracy"])))


def _arguments(folder, flags):
    return [*SMALL, f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out", *flags]


def _run(command):
    warm.server(command)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CONFIG", None)
    run = subprocess.run if LOCAL in command else warm.run
    done = run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert done.stderr == "", done.stderr[-4000:]  # a clean run has no word of error
