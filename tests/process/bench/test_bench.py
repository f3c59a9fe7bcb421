"""The bench on real replicas: its figures hang together. How fast they were is no matter."""

import json
import math
import struct
import subprocess
import sys

import pytest

from tests.process.trainer import ROOT, SMALL, environment

QUICK = (*SMALL, "--seconds=0.2")


def run(folder, *words):
    places = (f"--json={folder}/bench.json", f"--checkpoint_dir={folder}/ck")
    return subprocess.run(
        [sys.executable, "-m", *words, *places],
        env=environment(PYTHONPATH=str(ROOT)),
        **{"capture_output": True, "text": True, "cwd": ROOT, "timeout": 240},
    )


def report(folder):
    return json.loads((folder / "bench.json").read_text())


def ring_s(ring, replicas, size_bytes):
    messages = 2 * (replicas - 1)
    sent = messages / replicas * size_bytes / ring["bytes_per_s"]
    return ring["launch_s"] + messages * ring["alpha_s"] + sent


def check(found, batch):
    """What must be true of any report of two replicas."""
    one, two = found["levels"]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert one["weak"] == one["strong"]
    batches = [(row["batch"], row["images"]) for row in (one["weak"], two["weak"], two["strong"])]
    assert batches == [(batch, batch), (2 * batch, batch), (batch, batch // 2)]
    alone = one["weak"]["images_per_s"]
    for level in (one, two):
        for row in (level["weak"], level["strong"]):
            assert min(row["step_s"], row["alone_s"]) > 0
            assert 0 <= row["wait_s"] < row["step_s"]
            assert row["images_per_s"] == pytest.approx(row["batch"] / row["step_s"])
            speed = row["images_per_s"] / level["replicas"]
            assert row["efficiency"] == pytest.approx(speed / alone)
            share = max(0, 1 - row["alone_s"] / row["step_s"])
            assert row["communication"] == pytest.approx(share)
    assert one["all_reduce"] is None
    sizes = two["all_reduce"]["bytes"]
    assert sizes[0] == 1024
    assert sizes[-1] == found["bytes"] // 4 * 4  # whole float32 numbers
    assert {two[way]["bytes"] // 4 * 4 for way in ("weak", "strong")} <= set(sizes)
    assert len(two["all_reduce"]["seconds"]) == len(sizes)
    assert min(two["all_reduce"]["seconds"]) > 0
    said = found["prediction"]
    for way in ("weak", "strong"):
        for point in said[way]["points"]:
            n = point["replicas"]
            images = batch if way == "weak" else batch / n
            parts = found["config"]["accumulate_steps"]
            compute_s = parts * said["step"]["fixed_s"] + images * said["step"]["image_s"]
            sum_s = ring_s(said["ring"], n, point["bytes"])
            if point["bytes"] < found["bytes"]:  # factors
                rows = math.ceil(images) * n
                sum_s += said["step"]["product_row_s"] * (rows - rows / n)
            sum_s += (found["reductions"] - 1) * ring_s(said["ring"], n, 0)
            assert point["step_s"] == pytest.approx(compute_s + sum_s)
        assert two[way]["model_s"] == pytest.approx(said[way]["points"][0]["step_s"])


def test_two_devices_of_one_process(tmp_path):
    words = ("mnist_dist.bench", "--virtual_devices=2", f"--png={tmp_path}/bench.png", *QUICK)
    done = run(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    found = report(tmp_path)
    check(found, 64)
    assert found["bytes"] == 4 * found["parameters"]
    assert found["levels"][1]["weak"]["bytes"] == found["bytes"]
    assert found["prediction"]["step"]["product_row_s"] == 0.0
    assert found["reductions"] == 1
    assert found["shared"]
    assert len(found["workers"]) == 1
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["1 replica(s)", "2 replica(s)"]
    assert "Weak scaling, 64 images on each replica:" in lines
    assert any(line.strip().startswith("--wire_dtype=bfloat16 ") for line in lines)
    header = (tmp_path / "bench.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", header[16:24])
    assert width > height > 200
    assert not (tmp_path / "ck").exists()


def test_two_workers(tmp_path):
    """As launch/local.sh starts them; with what changes the gradients' way."""
    flags = ("--batch_size=32", "--wire_dtype=bfloat16", "--dense_units=128")
    done = run(tmp_path, "mnist_dist.local", "-n", "2", "-m", "bench", "--", *QUICK, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    found = report(tmp_path)
    check(found, 32)
    assert found["bytes"] == 2 * found["parameters"]
    assert found["reductions"] == 2  # the gradients, the few sums
    two = found["levels"][1]  # dense1 is 64 x 128; the factors of a row have 192 numbers
    assert two["weak"]["bytes"] == found["bytes"]
    assert two["strong"]["bytes"] == found["bytes"] - 2 * (64 * 128 - 32 * 192)
    assert found["prediction"]["step"]["product_row_s"] > 0
    assert "With dense gradients as factors: " in done.stdout
    assert [worker["rank"] for worker in found["workers"]] == [0, 1]
    assert [level["workers"] for level in found["levels"]] == [1, 2]
    assert not found["shared"]
    assert [change["flags"] for change in found["prediction"]["changes"]] == [
        "--batch_size=128",
        "--batch_size=128 --accumulate_steps=4",
    ]
    assert {line[:4] for line in done.stdout.splitlines()} == {"[0] "}  # the chief alone speaks
