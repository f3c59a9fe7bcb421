"""A device that flips a bit is found at the next save or check, and its host is named."""

import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests import warm
from tests.process.trainer import ROOT, environment, folders
from tests.process.training.faulty_runs import FAULTS, FLAGS, HOST, found, train

SAVING = (*FLAGS, "--max_steps=40", "--checkpoint_every_steps=10", "--connect_timeout=100")


@pytest.fixture
def run(subset, tmp_path):
    """Trains on workers and devices, with a fault or without; a Run for each worker."""

    def trained(*flags, folder="run", **on):
        return train(tmp_path / folder, subset, *flags, **on)

    return trained


@pytest.mark.parametrize(
    ("name", "workers", "devices"),
    [("model/dense1/kernel", 1, 3), ("optimizer/momentum/conv2/kernel", 3, 1)],
)
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


def test_the_log_says_which_replicas_are_compared(run):
    """Worker 2 alone has another processor, so nothing is known of its bits."""
    flags = (*FLAGS, "--max_steps=8", "--checkpoint_every_steps=4", "--shards=4")
    one = run(*flags, workers=4, fault={"kind": "hardware", "rank": 2})[0]
    assert one.code == 0, one.err
    said = "Bits are compared between replicas of equal hardware: workers 0, 1, 3; "
    assert f"\n{said}worker 2 differs from all others and isn't compared.\n" in one.out
    assert one.result()["bit_checks"] == len(one.checkpoints())


def test_two_workers_of_two_kinds_compare_nothing(run):
    """And the log counts no check."""
    flags = (*FLAGS, "--max_steps=8", "--shards=4", "--check_every_steps=2")
    one = run(*flags, workers=2, fault={"kind": "hardware", "rank": 1})[0]
    assert one.code == 0, one.err
    assert "\nBits aren't compared: no two replicas have equal hardware.\n" in one.out
    assert one.result()["bit_checks"] == 0


SUPERVISED = """
import subprocess, sys
from pathlib import Path
from mnist_dist.launch.processes import LocalStarter
from mnist_dist.launch.supervisor import Rules, supervise
from mnist_dist.launch.workers import Workers
from tests import warm
subprocess.Popen = warm.Popen
rules = Rules("local.sh", 1, Path(sys.argv[1]))
sys.exit(supervise(Workers("local.sh", 20), LocalStarter(sys.argv[2:], 3), rules))
"""


def test_the_local_launcher_goes_on_from_the_last_checkpoint(subset, tmp_path):
    """And ends with the bits of the run without the fault."""
    fault = {"kind": "variable", "name": "model/dense1/kernel", "rank": 2, "step": 13}
    fault["marker"] = f"{tmp_path}/struck"

    def supervised(name, *program):
        place = tmp_path / name
        flags = [*SAVING, f"--data_dir={subset}", *folders(place)]
        command = [sys.executable, *program, *flags]
        warm.server(command)
        done = subprocess.run(
            [sys.executable, "-c", SUPERVISED, f"{place}/ck", *command],
            **{"capture_output": True, "text": True, "cwd": ROOT, "timeout": 300},
            env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", str(ROOT))),
        )
        assert done.returncode == 0, done.stderr
        result = json.loads((place / "out/result.json").read_text())
        return done.stderr, result, (place / "out/metrics.jsonl").read_bytes()

    said, result, metrics = supervised("faulty", FAULTS, json.dumps(fault))
    assert "worker 2 (localhost) suspected of wrong bits: starts again from step 10" in said
    _, sound, sound_metrics = supervised("sound", "-m", "mnist_dist.train")
    assert metrics == sound_metrics
    assert result["weights_sha256"] == sound["weights_sha256"]
    assert result["bit_checks"] == sound["bit_checks"] == 4


def test_saves_by_time_are_compared_on_all_workers(run):
    """Their clocks differ, so worker 0 alone decides when."""
    by_time = ("--checkpoint_every_s=0.01", "--max_steps=100", "--keep_checkpoints=99")
    runs = run(*FLAGS, *by_time, workers=2)
    assert [one.code for one in runs] == [0, 0], runs[0].err
    saved = runs[0].checkpoints()
    assert len(saved) > 3
    assert runs[0].result()["bit_checks"] >= len(saved)


def test_one_replica_has_nothing_to_compare(trainer, small):
    done = trainer(*small, "--max_steps=2")
    assert done.result()["bit_checks"] == 0
    assert "Comparisons of bits" not in done.out


CHECKED = (*FLAGS, "--max_steps=24", "--connect_timeout=100", "--check_every_steps=6")
TWICE = "gradients that were computed twice differ: "
GRADIENT = {"kind": "gradient", "name": "conv1/kernel", "step": 11}


@pytest.mark.parametrize(
    ("flags", "topology", "place"),
    [
        ((), (2, 1), (1, 0)),
        (("--xla=on",), (1, 2), (0, 1)),
        (("--shards=4",), (2, 2), (1, 1)),
        (("--shards=4", "--batch_norm"), (1, 4), (0, 2)),
        (("--shards=2", "--accumulate_steps=2"), (1, 1), (0, 0)),
    ],
    ids=["replay on two workers", "by XLA", "two workers of two", "four devices", "one device"],
)
def test_a_gradient_that_is_wrong_once_is_found(run, tmp_path, flags, topology, place):
    """Before it is summed; the run that goes on ends in the bits of the run without the fault."""
    workers, devices = topology
    rank, device = place
    on = {"workers": workers, "devices": devices}
    fault = {**GRADIENT, "rank": rank, "device": device, "devices": devices}
    fault["marker"] = f"{tmp_path}/struck"
    flags = (*CHECKED, *flags, "--checkpoint_every_steps=5")
    runs = run(*flags, **on, fault=fault)
    named = f"worker {rank} (host {HOST}) /cpu:{device}: conv1/kernel; nothing"
    found(runs, f"step 12: {TWICE}wrong bits on {named}", {rank})
    assert runs[0].checkpoints() == [5, 10]
    (tmp_path / "struck").touch()
    again = run(*flags, **on, fault=fault)
    sound = run(*flags, **on, folder="sound")
    assert [one.code for one in again] == [0] * workers, again[0].err
    assert again[0].result()["weights_sha256"] == sound[0].result()["weights_sha256"]
    metrics = [(one[0].folder / "out/metrics.jsonl").read_bytes() for one in (again, sound)]
    assert metrics[0] == metrics[1]
    saves = 5 if workers * devices > 1 else 0
    assert sound[0].result()["bit_checks"] == 4 + saves


def test_a_layer_that_is_always_wrong_on_one_device_is_found(run):
    """It passes its own replay; the other devices outvote it."""
    fault = {"kind": "layer", "device": 2, "devices": 4, "always": True}
    runs = run(*CHECKED, "--shards=4", devices=4, fault=fault)
    found(runs, f"step 6: {TWICE}wrong bits on worker 0 (host {HOST}) /cpu:2: conv1/", {0})
    assert "/cpu:0" not in runs[0].err


def test_a_host_whose_images_are_wrong_is_found(run):
    """One of four: the three others outvote it in its own shard and in theirs."""
    fault = {"kind": "images", "rank": 2, "step": 8, "always": True}
    runs = run(*CHECKED, "--shards=4", workers=4, fault=fault)
    found(runs, f"step 12: {TWICE}wrong bits on worker 2 (host {HOST}) /cpu:0: conv1/", {2})
    assert all(f"worker {rank} " not in runs[0].err for rank in (0, 1, 3))


def test_of_two_hosts_both_are_named(run):
    fault = {"kind": "images", "rank": 1, "step": 8, "always": True}
    runs = run(*CHECKED, "--shards=2", workers=2, fault=fault)
    found(
        runs, f"step 12: {TWICE}no majority says which is right of worker 0 (host {HOST})", {0, 1}
    )


@pytest.mark.parametrize(
    "flags",
    [
        ("--batch_norm", "--accumulate_steps=2", "--optimizer=adam"),
        ("--precision=mixed_float16", "--shift_px=2", "--residual"),
        ("--eager", "--steps_per_loop=7"),
    ],
    ids=" ".join,
)
def test_checks_change_no_bit(trainer, small, flags):
    common = (*small, "--log_interval=1", "--max_steps=12", "--checkpoint_every_steps=6", *flags)
    same_bits(trainer(*common), trainer(*common, "--check_every_steps=3"), 4)


@pytest.mark.parametrize(
    "flags",
    [
        ("--batch_norm", "--rotate_deg=9", "--ema=0.9"),
        ("--accumulate_steps=2", "--precision=float64", "--batch_size=5"),
        ("--xla=on", "--digest_every_steps=4"),
    ],
    ids=" ".join,
)
def test_checks_change_no_bit_of_shards(run, flags):
    flags = (*FLAGS, "--shards=4", "--max_steps=12", *flags)
    checked = run(*flags, "--check_every_steps=3", folder="checked")
    same_bits(run(*flags)[0], checked[0], 4)


def same_bits(plain, checked, count):
    assert (plain.code, checked.code) == (0, 0), plain.err + checked.err
    files = [(one.folder / "out/metrics.jsonl").read_bytes() for one in (plain, checked)]
    assert files[0] == files[1]
    assert plain.result()["weights_sha256"] == checked.result()["weights_sha256"]
    assert checked.result()["bit_checks"] == plain.result()["bit_checks"] + count


def test_checks_change_no_bit_on_several_replicas(run):
    flags = ("--max_steps=12", "--batch_norm", "--dense_units=2000", "--reduce=factors")
    flags = (*FLAGS, "--batch_size=16", *flags)
    plain = run(*flags, devices=2, folder="plain")[0]
    checked = run(*flags, "--check_every_steps=1", devices=2, folder="checked")[0]
    same_bits(plain, checked, 12)


def test_checks_change_no_bit_by_xla(run):
    flags = (*FLAGS, "--max_steps=12", "--xla=on", "--accumulate_steps=2", "--clip_norm=1")
    plain = run(*flags, devices=2, folder="plain")[0]
    more = ("--check_every_steps=3", "--digest_every_steps=6")
    same_bits(plain, run(*flags, *more, devices=2, folder="checked")[0], 4)


def test_xla_is_refused_on_a_single_replica(trainer, small):
    for flag in ("--check_every_steps", "--digest_every_steps"):
        run = trainer(*small, "--xla=on", f"{flag}=5")
        assert f"{flag}=5 with XLA" in run.refused()


COUNTED = """
import sys
from mnist_dist import train
with train.without_startup_messages():
    import tensorflow as tf
from tensorflow.python.eager import context
from mnist_dist.training.loop import Loop
from mnist_dist.training.steps import Steps

own = Loop._train_block
def train_block(self, *arguments):
    context.context().enable_run_metadata()
    done = own(self, *arguments)
    metadata = context.context().export_run_metadata()
    bodies = []
    for graphs in metadata.function_graphs:
        graph = graphs.post_optimization_graph
        bodies += [graph.node, *(one.node_def for one in graph.library.function)]
    names = [node.op for body in bodies for node in body]
    print("kernels", sum("Conv2DBackpropFilter" in name for name in names), flush=True)
    return done
Loop._train_block = train_block
sys.exit(train.main(sys.argv[1:]))
"""


def test_the_optimized_graph_computes_twice(small, tmp_path):
    """Graph optimizers haven't merged the two computations, which are equal without a fault."""

    def kernels(*flags):
        place = tmp_path / "".join(flags)
        folders = [f"--checkpoint_dir={place}/ck", f"--output_dir={place}/out"]
        command = [sys.executable, "-c", COUNTED, *small, "--max_steps=2", *flags, *folders]
        done = warm.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
        assert done.returncode == 0, done.stderr
        return int(re.search(r"^kernels (\d+)$", done.stdout, re.M)[1])

    plain = kernels()
    assert plain > 0
    assert kernels("--check_every_steps=2") == 2 * plain
    # Two shards, and one of them again.
    assert 2 * kernels("--shards=2", "--check_every_steps=2") == 3 * kernels("--shards=2")


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
