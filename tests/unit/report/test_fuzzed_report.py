"""The report on damaged run folders: it says what is wrong and goes on, in bounds."""

import functools
import json
import os
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_dist.report.__main__ import report
from tests.unit.hostile import bounded, damaged, damaged_json, fuzzed
from tests.unit.report.run_folders import answers, write

NAMES = ("metrics.jsonl", "times.jsonl", "result.json", "predictions.npz")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A finished run, as one that is well beside the damaged."""
    folder = tmp_path_factory.mktemp("good") / "well"
    return write(folder, label_prediction=answers(50, 3), lr=0.02)


def reported(folder, good, form="md"):
    """The report's text on two runs, of which the good one is always told of."""
    output = folder.parent / "report"
    with bounded():
        report([str(folder), str(good)], form, str(output))
    text = output.read_text()
    assert re.search(r"\bwell +\|", text)
    return text


@functools.cache
def run_files():
    """The files of a good run: name -> bytes."""
    with tempfile.TemporaryDirectory() as place:
        folder = write(Path(place, "run"), label_prediction=answers(50, 3, 4))
        return {name: (folder / name).read_bytes() for name in NAMES}


def run(place):
    folder = Path(place, "run")
    folder.mkdir()
    for name, data in run_files().items():
        (folder / name).write_bytes(data)
    return folder


@fuzzed(150)
@given(st.data(), st.sampled_from(NAMES))
def test_damaged_bytes(good, capsys, data, name):
    with tempfile.TemporaryDirectory() as place:
        folder = run(place)
        path = folder / name
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        reported(folder, good)


@fuzzed(150)
@given(st.data())
def test_a_result_with_other_values(good, capsys, data):
    with tempfile.TemporaryDirectory() as place:
        path = run(place) / "result.json"
        path.write_bytes(data.draw(damaged_json(json.loads(path.read_text()))))
        reported(path.parent, good)


@fuzzed(100)
@given(st.data(), st.sampled_from(NAMES[:2]))
def test_lines_with_other_values(good, capsys, data, name):
    with tempfile.TemporaryDirectory() as place:
        path = run(place) / name
        lines = path.read_bytes().splitlines()
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = data.draw(damaged_json(json.loads(lines[number])))
        path.write_bytes(b"\n".join(lines) + b"\n")
        reported(path.parent, good)


ARRAYS = {
    "label": st.sampled_from([[0] * 50, [-1] * 50, [2**40] * 50, [0.5] * 50, [[0] * 50], [], [0]]),
    "prediction": st.sampled_from([[0] * 50, [9**6] * 50, [True] * 50, ["a"] * 50, [0] * 49]),
    "loss": st.sampled_from([[0.1] * 50, [float("nan")] * 50, [[]], [1e308] * 50]),
    "mistake_index": st.sampled_from([[3, 4], [-1, 4], [3, 50], [0.0, 1.0], [], [3]]),
    "mistake_image": st.sampled_from([(2, 28, 28, 1), (2, 28, 28, 2), (2, 0, 0, 1), (2, 28), (1,)]),
}


@fuzzed(100)
@given(st.fixed_dictionaries({}, optional=ARRAYS), st.booleans())
def test_predictions_with_other_arrays(good, capsys, changes, right):
    with tempfile.TemporaryDirectory() as place:
        folder = run(place)
        with np.load(folder / "predictions.npz") as found:
            arrays = dict(found)
        for name, value in changes.items():
            image = name == "mistake_image"
            arrays[name] = np.zeros(value, np.uint8) if image else np.array(value)
        np.savez(folder / "predictions.npz", **arrays)
        if right:  # as if the result beside it said the same
            result = json.loads((folder / "result.json").read_text())
            label, prediction = arrays["label"], arrays["prediction"]
            if label.shape == prediction.shape and label.size:
                result["test_accuracy"] = float((label == prediction).mean())
            (folder / "result.json").write_text(json.dumps(result))
        reported(folder, good)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["folder", "pipe", "endless", "circle", "nowhere"])
def test_what_is_no_file(good, tmp_path, name, kind):
    folder = run(tmp_path)
    path = folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"endless": "/dev/zero", "circle": name, "nowhere": "none"}[kind])
    text = reported(folder, good)
    said = "result" if name == "result.json" else name
    assert said in text or kind == "nowhere"


def test_a_long_file_is_read_to_a_bound(good, tmp_path):
    """A line of 300 MB, and 30 MB of good lines."""
    folder = run(tmp_path)
    line = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder / "metrics.jsonl").write_bytes(line * (30_000_000 // len(line)))
    with (folder / "times.jsonl").open("wb") as file:
        file.truncate(300_000_000)
    with (folder / "result.json").open("ab") as file:
        file.truncate(300_000_000)
    text = reported(folder, good)
    assert "metrics.jsonl is long: only its first 8 MiB are read" in text


@pytest.mark.parametrize("extreme", ["1e30", "1e-320"])
def test_a_page_of_extremes(good, tmp_path, capsys, extreme):
    """What is let through can be drawn, too."""
    pytest.importorskip("matplotlib")
    folder = run(tmp_path)
    for name in NAMES[:2]:
        text = (folder / name).read_text()
        (folder / name).write_text(re.sub(r'("(?!step)\w+": )[\d.]+', rf"\g<1>{extreme}", text))
    (folder / "times.jsonl").open("a").write('{"step": 1e30, "seconds": 1}\n')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report([str(folder), str(good)], "html", str(tmp_path / "page.html"))
    assert "damaged" not in (tmp_path / "page.html").read_text()
