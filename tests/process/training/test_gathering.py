"""Gradients that each worker gathers from all and adds by itself."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.curves import ROOT, train
from tests.process.training.gathering import STEPS, given
from tests.unit.cluster.meeting import addresses

FACTORS = ("--reduce=factors", "--dense_units=256", "--batch_size=32", "--max_steps=20")


@pytest.mark.parametrize("number", [2, 3])
def test_sums_by_hand(number):
    """Against NumPy, in the workers' order, and the same on each; three steps of one graph."""
    workers = addresses(number)
    script = f"{ROOT}/tests/process/training/gathering.py"
    started = [
        subprocess.Popen(
            [sys.executable, script, str(rank), *workers],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(number)
    ]  # fmt: skip
    said = [worker.communicate(timeout=200) for worker in started]
    assert [worker.returncode for worker in started] == [0] * number, said[0][1][-2000:]
    found = [json.loads(out.splitlines()[-1]) for out, _ in said]
    assert all(one == found[0] for one in found)
    for k in range(STEPS):
        small, inputs, outputs = zip(*(given(rank, k) for rank in range(number)), strict=True)
        in_order = small[0]
        for other in small[1:]:
            in_order = in_order + other
        product = np.concatenate(inputs).T.astype(np.float64) @ np.concatenate(outputs)
        for how, rows in found[0].items():
            row = np.array(rows[k], np.float32)
            assert np.abs(row[7:-1] - product.ravel()).max() < 1e-5
            assert row[-1] == sum(rank + k for rank in range(number))
            if how == "gather" or number == 2:
                assert row[:7].tobytes() == in_order.tobytes()


@pytest.mark.parametrize("flags", [(), ("--shards=2",)], ids=["rows", "shards"])
def test_two_workers_have_the_bits_of_an_all_reduce(tmp_path, subset, flags):
    """One pack of all gradients, however large, is an all-reduce."""
    flags = (*FACTORS, *flags, f"--data_dir={subset}")
    gathered = train(tmp_path / "gathered", *flags, workers=2)
    reduced = train(tmp_path / "reduced", *flags, "--bytes_per_pack=1000000000", workers=2)
    assert gathered.losses == reduced.losses
    assert gathered.result["weights_sha256"] == reduced.result["weights_sha256"]
