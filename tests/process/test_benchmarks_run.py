"""One suite of the benchmark runs; what it measures here is no figure and isn't looked at."""

import json
import subprocess
import sys

import pytest

from tests.process.trainer import DEADLINE_S, ROOT, environment


def test_a_quick_step(tmp_path):
    """Real contestants agree on the first losses and have their turns."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "step", "--quick", f"--out={tmp_path}"],
        **{"capture_output": True, "text": True, "cwd": ROOT, "timeout": DEADLINE_S},
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "step.json").read_text())
    [table] = found["tables"]
    assert {"mnist_dist", "Keras fit"} <= set(table["rows"])
    assert any(name.startswith("limit") for name in table["rows"])
    ours = table["rows"]["mnist_dist"]["first_losses"]
    for row in table["rows"].values():
        assert len(row["ms_a_step"]) == 2
        assert len(row["first_losses"]) == 5
        assert len(set(row["first_losses"])) == 5  # the weights move
        assert row["first_losses"] == pytest.approx(ours, abs=1e-4)
    for name in table["not_installed"]:
        assert f"| {name} | not installed |" in done.stdout
    assert {"cpu", "cpu_features", "tensorflow", "torch"} <= set(found["machine"])
