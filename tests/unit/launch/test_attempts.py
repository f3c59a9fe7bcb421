"""Counting a job's tries without progress."""

import json
import os

import pytest

from mnist_dist.launch import attempts
from mnist_dist.launch.attempts import Record, count

DAMAGED = {
    "": "Expecting value",
    "null": "no job, step and tries",
    '{"job": "7", "st': "Unterminated string",
    "[1]": "no job, step and tries",
    "[" * 9000: "nested too deeply",
    "1" * 5000: "digits",
    "x" * 20_000: "more than 10,000 bytes",
    '{"job": "7", "step": 0}': "no job, step and tries",
    '{"job": "7", "step": 0, "tries": -5}': "can't be",
    '{"job": "7", "step": 0, "tries": 1e9}': "can't be",
    '{"job": "7", "step": true, "tries": 0}': "can't be",
    '{"job": 7, "step": 0, "tries": 0}': "can't be",
    '{"job": "7", "step": 0, "tries": NaN}': "NaN isn't JSON",
    b"\xff\xfe": "isn't text",
}


def counted(steps, job="7"):
    """The tries in a row without progress, after each of some tries that left these steps."""
    record = Record()
    for step in steps:
        record = count(record, job, step)
        yield record.tries


def test_tries_without_progress_are_counted():
    assert list(counted([0, 0, 0])) == [1, 2, 3]


def test_progress_starts_the_count_anew():
    assert list(counted([0, 0, 10, 10, 10, 20, 20])) == [1, 2, 0, 1, 2, 0, 1]


def test_another_job_starts_the_count_anew():
    assert count(Record("7", 10, 3), "8", 10) == ("8", 10, 1)


def test_the_record_is_json_and_is_read_back(tmp_path):
    path = tmp_path / "new" / attempts.RECORD
    attempts.write(path, Record("7", 10, 2))
    assert json.loads(path.read_text()) == {"job": "7", "step": 10, "tries": 2}
    assert attempts.read(path) == (("7", 10, 2), "")


def test_there_is_no_record_before_the_first_try(tmp_path):
    assert attempts.read(tmp_path / attempts.RECORD) == (Record(), "")


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_empty(tmp_path, content):
    path = tmp_path / attempts.RECORD
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    record, damage = attempts.read(path)
    assert record == Record()
    assert damage.startswith("is damaged (")
    assert DAMAGED[content] in damage


def test_a_folder_or_a_fifo_in_the_place_of_the_record(tmp_path):
    path = tmp_path / attempts.RECORD
    for make, said in ((path.mkdir, "is a directory"), (lambda: os.mkfifo(path), "is no file")):
        make()
        record, damage = attempts.read(path)
        assert (record, said in damage) == (Record(), True)
        attempts.write(path, Record("7", 0, 1))
        assert attempts.read(path)[0].tries == 1
        path.unlink()


def test_a_record_that_cant_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        attempts.write(tmp_path / "file" / attempts.RECORD, Record())
