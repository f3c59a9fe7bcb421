"""Damaged run folders in `compare`: an answer or one line, in bounds."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_dist.compare import __main__ as compare
from mnist_dist.compare import difference, files
from tests.unit.compare.test_compare import RESULT, digests, write
from tests.unit.hostile import bounded, damaged, damaged_json, fuzzed

LINES = [digests(10), digests(20)]
NAMES = ("result.json", "metrics.jsonl", "digests.jsonl")


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    return write(tmp_path_factory.mktemp("compare") / "well", lines=LINES)


def compared(well, name, contents):
    with tempfile.TemporaryDirectory() as place:
        folder = write(Path(place, "run"), lines=LINES)
        Path(folder, name).write_bytes(contents)
        with bounded():
            runs = files.read(well), files.read(folder)
            found = difference.between(*runs)
            assert json.dumps(compare.as_dict(found))
            assert "\n" in compare.text(*runs, found)


@fuzzed(150)
@given(st.data(), st.sampled_from(NAMES))
def test_damaged_bytes(well, data, name):
    contents = Path(well, name).read_bytes()
    compared(well, name, data.draw(damaged(contents)))


@fuzzed(150)
@given(st.data())
def test_damaged_values(well, data):
    name, record = data.draw(st.sampled_from([("result.json", RESULT), (NAMES[2], digests(10))]))
    compared(well, name, data.draw(damaged_json(record)) + b"\n")
