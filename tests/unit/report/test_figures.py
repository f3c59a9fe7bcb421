"""What the report's pictures show: every curve, and few points as they are."""

import json

import numpy as np
import pytest

from mnist_dist.report.runs import SMOOTHED_FROM, read
from mnist_dist.report.settings import settings
from tests.unit.report.run_folders import lines, write

pytest.importorskip("matplotlib")


def panel(folder, what):
    from matplotlib.figure import Figure

    from mnist_dist.report.figures import _panel

    found = settings(read([str(folder)]))
    axes = Figure().add_subplot()
    _panel(axes, found, ["#000000"] * len(found), what)
    return axes


def logged(folder, accuracies, **flags):
    write(folder, **flags)
    records = [
        {"step": n, "epoch": 1, "split": "train", "loss": 1.0 - a, "accuracy": a, "lr": 0.1}
        for n, a in enumerate(accuracies, 1)
    ]
    lines(folder / "metrics.jsonl", records)


def test_three_points_are_drawn_as_they_were_logged(tmp_path):
    """Six runs of three points were flat lines: each point the mean of all."""
    for number in range(6):
        logged(tmp_path / f"{number}", [0.2, 0.5, 0.1 * number], lr=0.1 * number)
    axes = panel(tmp_path, ("train", "accuracy", "step"))
    assert sorted(line.get_ydata()[2] for line in axes.lines) == pytest.approx(
        [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    )
    assert all(line.get_ydata()[:2].tolist() == [20.0, 50.0] for line in axes.lines)
    assert {line.get_marker() for line in axes.lines} == {"o"}


def test_the_axis_of_time_begins_where_training_does(tmp_path):
    """The graph is compiled before, here for 8 s and 5 s; an evaluation comes later."""
    for name, start_s in (("a", 8.0), ("b", 5.0)):
        logged(tmp_path / name, [0.2, 0.5, 0.6], lr=start_s)
        scored = {"step": 3, "epoch": 1, "split": "test", "loss": 0.5, "accuracy": 0.6}
        with (tmp_path / name / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(scored) + "\n")
        times = [{"step": n, "seconds": start_s + n} for n in (1, 2, 3)]
        lines(tmp_path / name / "times.jsonl", times)
    for split in ("train", "test"):
        assert panel(tmp_path, (split, "accuracy", "seconds")).get_xlim()[0] == 6.0
    assert panel(tmp_path, ("train", "accuracy", "step")).get_xlim()[0] == 0.0


def test_a_bad_run_among_many_stays_in_the_picture(tmp_path):
    """The lowest tenth of the accuracies is cut off, but no curve altogether."""
    for number in range(12):
        logged(tmp_path / f"{number:02}", 0.9 + 0.001 * np.arange(SMOOTHED_FROM), lr=1.0 + number)
    logged(tmp_path / "bad", [0.1] * SMOOTHED_FROM, lr=99.0)
    low, high = panel(tmp_path, ("train", "accuracy", "step")).get_ylim()
    assert low < 10.0
    assert high > 95.0
