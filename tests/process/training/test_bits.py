"""A device that flips a bit is found at the next save or check, and its host is named."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests import warm
from tests.process.trainer import ROOT, SMALL, Run, environment
from tests.unit.cluster.meeting import addresses

FAULTS = str(ROOT / "tests/process/training/bit_faults.py")
HOST = socket.gethostname()
FLAGS = (*SMALL, "--validation_size=500", "--log_interval=1", "--steps_per_loop=4")
SAVING = (*FLAGS, "--max_steps=40", "--checkpoint_every_steps=10", "--connect_timeout=100")


@pytest.fixture
def run(subset, tmp_path):
    """Trains on workers and devices, with a fault or without; a Run for each worker."""

    def trained(*flags, workers=1, fault=None, folder="run", devices=1):
        place, started = tmp_path / folder, []
        cluster = {"worker": addresses(workers)}
        program = [FAULTS, json.dumps(fault)] if fault else ["-m", "mnist_dist.train"]
        place.mkdir(exist_ok=True)
        flags = [*flags, f"--virtual_devices={devices}", f"--data_dir={subset}"]
        flags += [f"--checkpoint_dir={place}/ck", f"--output_dir={place}/out"]
        for rank in range(workers):
            task = {"cluster": cluster, "task": {"type": "worker", "index": rank}}
            told = {"TF_CONFIG": json.dumps(task)} if workers > 1 else {}
            started.append(
                warm.Popen(
                    [sys.executable, *program, *flags],
                    **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
                    env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", str(ROOT)), **told),
                    cwd=ROOT,
                )
            )
        try:
            ends = [(one.communicate(timeout=150), one.returncode) for one in started]
        finally:
            for one in started:
                one.kill()
                one.wait()
        return [Run(code, out, err, place) for (out, err), code in ends]

    return trained


def found(runs, text, blamed):
    """All workers ended with the same line, those to blame with their own exit code."""
    for rank, one in enumerate(runs):
        assert one.code == (76 if rank in blamed else 1), one.out + one.err
        assert re.fullmatch(r"mnist_dist: [^\n]+\n", one.err), one.err
        assert text in one.err


@pytest.mark.parametrize("name", ["model/dense1/kernel", "optimizer/momentum/conv2/kernel"])
@pytest.mark.parametrize(("workers", "devices"), [(1, 3), (3, 1)])
def test_a_copy_that_differs_is_found_at_the_next_save(run, tmp_path, name, workers, devices):
    """In a weight or the optimizer; a third copy says which is right; the rerun is as without."""
    last = {"rank": workers - 1, "device": devices - 1}
    fault = {"kind": "variable", "name": name, "step": 13, "marker": f"{tmp_path}/struck", **last}
    runs = run(*SAVING, workers=workers, devices=devices, fault=fault)
    layer = name if name.startswith("optimizer") else "model/"
    place = f"worker {workers - 1} (host {HOST}) /cpu:{devices - 1}: "
    found(
        runs,
        f"step 20: the replicas' copies of weights or optimizer differ: wrong bits on {place}",
        {workers - 1},
    )
    assert layer in runs[0].err
    assert runs[0].checkpoints() == [10]
    again = run(*SAVING, workers=workers, devices=devices, fault=fault)
    sound = run(*SAVING, workers=workers, devices=devices, folder="sound")
    assert [one.code for one in again] == [0] * workers, again[0].err
    assert again[0].result()["weights_sha256"] == sound[0].result()["weights_sha256"]
    files = [(one[0].folder / "out/metrics.jsonl").read_bytes() for one in (again, sound)]
    assert files[0] == files[1]
    assert sound[0].result()["bit_checks"] == again[0].result()["bit_checks"] == 4
    assert "\nComparisons of bits: 4 checks, 0 differ.\n" in sound[0].out


def test_of_two_workers_both_are_named(run):
    fault = {"kind": "variable", "name": "model/logits/bias", "rank": 1, "device": 0, "step": 3}
    runs = run(*SAVING, workers=2, fault=fault)
    found(runs, f"no majority says which is right of worker 0 (host {HOST}) /cpu:0: ", {0, 1})
    assert f"; worker 1 (host {HOST}) /cpu:0: " in runs[0].err
    assert runs[0].checkpoints() == []


def test_saves_by_time_are_compared_on_all_workers(run):
    """Their clocks differ, so worker 0 alone decides when."""
    by_time = ("--checkpoint_every_s=0.05", "--max_steps=100", "--keep_checkpoints=99")
    runs = run(*FLAGS, *by_time, workers=2)
    assert [one.code for one in runs] == [0, 0], runs[0].err
    saved = runs[0].checkpoints()
    assert len(saved) > 3
    assert runs[0].result()["bit_checks"] >= len(saved)


def test_one_replica_has_nothing_to_compare(trainer, small):
    done = trainer(*small, "--max_steps=2")
    assert done.result()["bit_checks"] == 0
    assert "Comparisons of bits" not in done.out


DIGESTS = """
import json, sys
import numpy as np, tensorflow as tf
from mnist_dist.training.bit_digest import bit_digest
draw = np.random.default_rng(0)
found = []
for dtype in ("float32", "float64", "float16", "int64", "int32", "uint8", "bool"):
    for size in (1, 5, 1024, 1025, 3000):
        bits = draw.integers(0, 256, size * np.dtype(dtype).itemsize, np.uint8)
        array = (bits > 99) if dtype == "bool" else bits.view(dtype)
        graph = tf.function(lambda: bit_digest(tf.constant(array)), autograph=False)
        found.append((array.tobytes().hex(), array.itemsize, int(graph())))
print(json.dumps(found))
"""


def reference(data, size):
    """The digest as the docstring has it, in Python's integers."""

    def factor(index):
        x = (index + 1) * 0x9E3779B97F4A7C15 % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return (x ^ x >> 31) | 1

    words = np.frombuffer(data, f"<i{min(size, 4)}").tolist()
    total = sum(w * factor(i // 1024) * factor(i % 1024) for i, w in enumerate(words)) % 2**64
    return total - 2**64 if total >= 2**63 else total


def test_the_digest_is_the_sum_that_its_docstring_says():
    done = warm.run([sys.executable, "-c", DIGESTS], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for data, size, digest in json.loads(done.stdout):
        assert digest == reference(bytes.fromhex(data), size)


def test_a_single_wrong_word_always_shows():
    """Any bit of any word; and hashing of the words' order."""
    data = bytearray(hashlib.sha256(b"seed").digest() * 40)
    right = reference(bytes(data), 4)
    for bit in range(0, 8 * len(data), 7):
        data[bit // 8] ^= 1 << bit % 8
        assert reference(bytes(data), 4) != right
        data[bit // 8] ^= 1 << bit % 8
    assert reference(bytes(data[4:8] + data[:4] + data[8:]), 4) != right
