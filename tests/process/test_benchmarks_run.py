"""Benchmarks run; what they measure here is no figure and isn't looked at."""

import argparse
import json
import re
import subprocess
import sys

import pytest

from benchmarks import checks
from tests import warm
from tests.process.trainer import DEADLINE_S, ROOT, environment

FORKED = """
import subprocess
from tests import warm
subprocess.Popen = warm.Popen
"""
"""Before a program: Python's processes that it starts find TensorFlow imported."""

RUN = f"{FORKED}import sys; from benchmarks.run import main; sys.exit(main(sys.argv[1:]))"


def test_a_quick_step(tmp_path):
    """Real contestants agree on the first losses and have their turns."""
    command = [sys.executable, "-c", RUN, "step", "--quick", f"--out={tmp_path}"]
    warm.server(command)  # in this process, so that the command finds it
    done = warm.run(
        command,
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


def test_recovery_from_a_silent_worker_on_this_machine(tmp_path):
    """The other launchers, which need their labs, lose workers by SIGKILL."""
    words = ("--kills=1", "--signal=STOP", "--", "--peer_timeout=5")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.recovery", *words],
        **{"capture_output": True, "text": True, "cwd": tmp_path, "timeout": DEADLINE_S},
        env={**environment(), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert min(assert_recoveries(done.stdout, "local, SIGSTOP", 1)) > 5
    assert not list(tmp_path.iterdir())


def assert_recoveries(said, how, number):
    """A line for each, and a last one with the figures of those; returns the seconds."""
    *lines, last = said.splitlines()
    seconds = [float(re.fullmatch(r"\d+: ([\d.]+) s", line)[1]) for line in lines]
    assert len(seconds) == number
    assert min(seconds) > 0
    assert last.startswith(f"{how}: {number} times, seconds to the next step: median ")
    assert last.endswith(f", most {max(seconds):.1f}")
    return seconds


def test_the_prices_of_checks_on_two_workers(tmp_path, monkeypatch):
    warm.server([])
    monkeypatch.setattr(checks, "WORKERS", FORKED + checks.WORKERS)
    given = argparse.Namespace(workers=2, steps=110, batch_size=8, shards=2, virtual_devices=0)
    found = checks.measured(given, 10, tmp_path / "run")
    assert len(found["saved_s"]) == len(found["compared_s"]) == 1
    cells = checks.row(given, [[found]] * len(checks.INTERVALS))
    assert len(cells) == len(checks.COLUMNS)
    assert cells[2] == "1.000 (1.000 to 1.000)"
