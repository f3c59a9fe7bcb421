"""A run's files with any damage, as a run that goes on reads them: bounded, in its own words."""

import contextlib
import functools
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run import frames, lock, logs, publishing, store
from mnist_dist.run.find import find
from mnist_dist.run.owner import Owner
from mnist_dist.training.progress import Progress
from tests.unit.hostile import bounded, damaged, damaged_json, fuzzed

PROGRESS = {
    **{"step": 24, "train_seconds": 1.5, "scores": {"test": {"loss": 0.5, "accuracy": 0.9}}},
    **{"patience": {"best_step": None, "best_value": None, "waited": 0}, "stopped": ""},
}
STATE = {"identity": {"lr": 0.1}, "best_step": None, "written": {}, **PROGRESS}


@functools.cache
def state_file():
    """A state.json as it is saved, its folder holding the weights that it speaks of."""
    with tempfile.TemporaryDirectory() as place:
        publishing.publish(
            Path(place), 24, STATE, lambda f: (f / "weights").write_bytes(b"weights")
        )
        return Path(place, "ckpt-24/state.json").read_bytes()


def checkpoint(place, state):
    folder = Path(place, "ckpt-24")
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    (folder / "state.json").write_bytes(state)
    return Path(place)


@fuzzed(150)
@given(st.data(), st.booleans())
def test_a_damaged_state_is_none_or_what_was_saved(data, older):
    """Also where it looks like one of the first format, which had no digest."""
    good = state_file()
    if older:
        record = json.loads(good)
        good = json.dumps({**record, "format": 1}).encode()
    with tempfile.TemporaryDirectory() as place, bounded():
        folder = checkpoint(place, data.draw(damaged(good)))
        saved, why = store.newest(folder)
        assert saved == (folder / "ckpt-24", 24, STATE) if saved else len(why) == 1


@fuzzed(150)
@given(damaged_json(PROGRESS))
def test_a_state_with_other_values(text):
    """Whole by its digest, and not of this program: ValueError, which skips it."""
    with bounded():
        try:
            progress = Progress.restored(json.loads(text))
        except (ValueError, RecursionError):
            return
        assert progress.step >= 0


LINES = [
    {"step": n, "epoch": 1, "split": split, "loss": n / 8, "accuracy": 0.5, "lr": 0.1}
    for n in range(1, 9)
    for split in ("train", "test")
]
METRICS = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)


@fuzzed(200)
@given(st.data(), st.booleans())
def test_lines(data, in_a_line):
    """Each that stays can be read and is one of the run; the rest is counted as lost."""
    found = METRICS
    if in_a_line:
        lines = METRICS.splitlines(keepends=True)
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = data.draw(damaged_json(LINES[number])) + b"\n"
        found = b"".join(lines)
    else:
        found = data.draw(damaged(METRICS))
    with tempfile.TemporaryDirectory() as place:
        log = logs.Log(Path(place, "then"))
        for line in METRICS.splitlines(keepends=True):
            log.write(line)
        log.close()
        path = Path(place, "metrics.jsonl")
        path.write_bytes(found)
        with bounded():
            rest = logs.kept_lines(logs.contents(path), log.written(), lambda r: 0 < r["step"] <= 8)
            assert [json.loads(line) for line in rest.contents.splitlines()] == rest.records
            assert rest.lost == max(len(LINES) - len(rest.records), 0)
            assert all(0 < record["step"] <= 8 for record in rest.records)
            assert rest.changed == (found[: len(METRICS)] != METRICS)


@pytest.mark.parametrize("kind", ["pipe", "endless", "circle", "folder", "long"])
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / "metrics.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "long":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        path.symlink_to({"endless": "/dev/zero", "circle": "metrics.jsonl"}[kind])
    with bounded():
        with pytest.raises(RunError, match=f"could not read {path}: "):
            logs.contents(path)
        (tmp_path / "ckpt-1").mkdir()
        path.rename(tmp_path / "ckpt-1/state.json")
        saved, why = store.newest(tmp_path)
        assert saved is None
        assert "it is not whole" in why[tmp_path / "ckpt-1"]


RECORDS = [bytes([n]) * 30 * n for n in range(1, 9)]


@fuzzed(40)
@given(damaged(b"".join(map(frames.frame, RECORDS))))
def test_frames(data):
    with bounded():
        for framed in frames.frames(data):
            assert frames.frame(frames.record_of(framed)) == framed


def test_a_file_that_a_crash_left_full_of_zeros():
    with bounded():
        data = frames.frame(b"before") + bytes(20 << 20) + frames.frame(b"behind")
        found = [frames.record_of(framed) for framed in frames.frames(data)]
    assert found == [b"before", b"behind"]


OWNER = Owner.this_process("7", 0)._asdict()


@fuzzed()
@example(json.dumps({**OWNER, "pid": -5}).encode())
@example(json.dumps({**OWNER, "pid": 10**30}).encode())
@given(st.one_of(damaged_json({**OWNER, "beat": "1"}), damaged(json.dumps(OWNER).encode())))
def test_locks(text):
    """Taken over at once, or refused as alive; what can't be read counts once it doesn't change."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "run-1.lock").write_bytes(text)
        mine = Owner.this_process("8", 0)
        new = lock.Lock(Path(place), "--output_dir", mine, lambda line: None, 60.0, 0.0)
        with bounded(), contextlib.suppress(UsageError):  # in use
            new.acquire()
            new.release()


RESULT = {"config": {"checkpoint_dir": "/nowhere", "seed": 0}, "data": "x"}


@fuzzed()
@given(st.one_of(damaged_json(RESULT), damaged(json.dumps(RESULT).encode())))
def test_a_result_that_names_its_checkpoints(text):
    with tempfile.TemporaryDirectory() as place, bounded():
        Path(place, "result.json").write_bytes(text)
        find(place)
