"""A checkpoint's files: each bit counts, and at no moment is there none that is whole."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from mnist_dist.errors import UsageError
from mnist_dist.run import digest, publishing, store

STATE = {"best_step": None, "scores": {"test": {"loss": 0.25}}, "stopped": "", "step": 24}
DATA, INDEX = "weights.data", "weights.index"


def writer(text):
    def write(folder):
        (folder / DATA).write_bytes(text.encode() * 20)
        (folder / INDEX).write_bytes(b"index")

    return write


def saved(folder, step=24, text="weights", **state):
    publishing.publish(folder, step, {**STATE, "step": step, **state}, writer(text))
    return folder / f"ckpt-{step}"


def test_what_was_published_is_read(tmp_path):
    path = saved(tmp_path / "new")
    assert store.read(path) == (path, 24, STATE)
    assert sorted(p.name for p in path.iterdir()) == ["state.json", DATA, INDEX]
    assert json.loads((path / "state.json").read_text())["step"] == 24


@pytest.mark.parametrize("name", ["state.json", DATA, INDEX])
def test_each_bit_of_each_file_counts(tmp_path, name):
    """None of the flips is taken for whole, or for another format."""
    path = saved(tmp_path) / name
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=f"its file {name} is damaged"):
            store.read(path.parent)
    path.write_bytes(data)
    store.read(path.parent)


@pytest.mark.parametrize("name", ["state.json", DATA, INDEX])
def test_a_file_of_another_length(tmp_path, name):
    path = saved(tmp_path) / name
    data = path.read_bytes()
    for other in (*(data[:size] for size in range(len(data))), data + b"\n", data + data):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=f"its file {name} is damaged"):
            store.read(path.parent)


def folder_at(path):
    path.unlink()
    path.mkdir()


def fifo_at(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [Path.unlink, folder_at, fifo_at])
@pytest.mark.parametrize("name", ["state.json", DATA])
def test_what_is_no_file_is_not_whole(tmp_path, name, harm):
    path = saved(tmp_path)
    harm(path / name)
    with pytest.raises(ValueError, match="it is not whole"):
        store.read(path)


@pytest.mark.parametrize("text", ["", "null", "[]", '{"format": 1}', "[" * 100_000, "9" * 5000])
def test_a_state_without_its_digest(tmp_path, text):
    path = saved(tmp_path)
    (path / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"its file state\.json is damaged"):
        store.read(path)


def test_another_step_and_another_format(tmp_path):
    path = saved(tmp_path)
    with pytest.raises(ValueError, match="it says that it is of step 24"):
        store.read(path.rename(tmp_path / "ckpt-25"))
    state = tmp_path / "ckpt-25" / "state.json"
    record = json.loads(state.read_text())
    del record["digest"], record["bytes"]
    state.write_text(json.dumps({**record, "format": 1}, indent=1))
    with pytest.raises(UsageError, match="ckpt-25 is of format 1, this version reads 2; use the"):
        store.read(state.parent)
    state.write_bytes(digest.with_digest({**record, "format": 3}))
    with pytest.raises(UsageError, match="is of format 3, this version reads 2"):
        store.read(state.parent)


def test_who_may_not_read_is_told_so(tmp_path):
    """It isn't taken for damaged: an older one would be gone on from, for nothing."""
    tmp_path.chmod(0o755)
    for place in tmp_path.parents:
        if place.owner() != "root" or place.name.startswith("pytest"):
            place.chmod(0o755)
    path = saved(tmp_path)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match=r"state\.json: this user may not read it \(Perm"):
            store.read(path)
    finally:
        os.seteuid(user)
        path.chmod(0o755)


def test_names(tmp_path):
    names = [
        "ckpt-9",
        "ckpt-10",
        "ckpt-10.old",
        "ckpt-0",
        "ckpt-011",
        "ckpt-x",
        ".ckpt-7",
        "ckpt-²",
    ]
    for name in [*names, "ckpt-" + "9" * 30]:
        (tmp_path / name).mkdir()
    assert [path.name for path in store.visible(tmp_path)] == [
        *("ckpt-0", "ckpt-9", "ckpt-10.old", "ckpt-10")
    ]
    assert store.visible(tmp_path / "none") == []


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for step in (1, 2, 3, 4):
        saved(tmp_path, step, best_step=1 if step == 4 else 2)
    publishing.prune(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt-1", "ckpt-4"]


def test_pruning_keeps_the_only_one_left_by_a_kill_between_two_renames(tmp_path):
    saved(tmp_path).rename(tmp_path / "ckpt-24.old")
    publishing.prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-24.old"]


def test_the_newest_whole_one_is_found_and_the_damaged_ones_are_named(tmp_path):
    paths = {step: saved(tmp_path, step, best_step=9) for step in (1, 2, 3)}
    (paths[3] / INDEX).write_bytes(b"other")
    damaged = {paths[3]: f"its file {INDEX} is damaged (wrong checksum)"}
    assert store.newest(tmp_path) == (store.read(paths[2]), damaged)
    assert store.newest(tmp_path, step=3) == (None, damaged)
    assert store.newest(tmp_path, step=1) == (store.read(paths[1]), {})
    assert store.newest(tmp_path / "none") == (None, {})

    def check(checkpoint):
        if checkpoint.step == 2:
            raise ValueError("of another program")

    assert store.newest(tmp_path, check=check) == (
        store.read(paths[1]),
        {**damaged, paths[2]: "of another program"},
    )


def test_a_damaged_checkpoint_names_no_best_step(tmp_path):
    path = saved(tmp_path, best_step=7)
    assert store.best_step(path) == 7
    (path / "state.json").write_text("{}")
    assert store.best_step(path) is None
    (path / "state.json").unlink()
    assert store.best_step(path) is None


def test_a_save_that_this_process_left_half_written_is_replaced(tmp_path):
    hidden = tmp_path / f".ckpt-24-{os.getpid()}"
    hidden.mkdir()
    (hidden / "other").write_text("")
    assert sorted(path.name for path in saved(tmp_path).iterdir()) == ["state.json", DATA, INDEX]


def test_a_file_of_another_length_is_not_hashed(tmp_path, monkeypatch):
    """A sparse file of 50 GB is refused at once."""
    path = saved(tmp_path)
    os.truncate(path / DATA, 50 << 30)
    monkeypatch.setattr(store.hashlib, "file_digest", lambda *_: pytest.fail("hashed"))
    with pytest.raises(ValueError, match=f"its file {DATA} is damaged \\(wrong length\\)"):
        store.read(path)


def test_a_checkpoint_without_lengths_is_read(tmp_path):
    """As versions before this one wrote it."""
    path = saved(tmp_path)
    record = digest.verified((path / "state.json").read_bytes())
    assert record.pop("bytes") == {DATA: 140, INDEX: 5}
    (path / "state.json").write_bytes(
        digest.with_digest({name: record[name] for name in record if name != "digest"})
    )
    assert store.read(path) == (path, 24, STATE)


def test_a_symlinked_checkpoint_is_pruned_and_its_target_stays(tmp_path):
    target = saved(tmp_path / "elsewhere", 1)
    (tmp_path / "ck").mkdir()
    (tmp_path / "ck/ckpt-1").symlink_to(target)
    saved(tmp_path / "ck", 2)
    publishing.prune(tmp_path / "ck", 1)
    assert os.listdir(tmp_path / "ck") == ["ckpt-2"]
    assert store.read(target).step == 1


class Killed(BaseException):
    """As kill -9, at a system call: nothing after it is done."""


CALLS = ("mkdir", "rename", "unlink", "rmdir", "fsync", "open")


class Disk:
    """Notes the calls that change a folder, or bring it to the disk; kills at one of them."""

    def __init__(self, monkeypatch, kill_at=-1):
        self.calls, self._kill_at = [], kill_at
        for name in CALLS:
            monkeypatch.setattr(os, name, self._noted(name, getattr(os, name)))

    def _noted(self, name, call):
        def noted(*args, **options):
            if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
                if len(self.calls) >= self._kill_at >= 0:
                    raise Killed
                what = [Path(os.fsdecode(a)).name for a in args if not isinstance(a, int)]
                self.calls.append(" ".join([name, *what]))
            return call(*args, **options)

        return noted


def again(folder):
    """Step 24 saved once more, and pruned to one."""
    publishing.publish(folder, 24, {**STATE, "stopped": "max_steps"}, writer("again"))
    publishing.prune(folder, 1)


def calls_of_saving_again(folder, monkeypatch):
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        again(folder)
    return [re.sub(r"(?<=-24\.old-)\w+", "X", call) for call in disk.calls]


def newest_whole(folder):
    for path in reversed(store.visible(folder)):
        try:
            return store.read(path)
        except ValueError:
            continue
    return None


def test_the_points_of_a_save(tmp_path, monkeypatch):
    """All calls that change the folder when a step is saved again; the test below kills at each."""
    saved(tmp_path)
    calls = calls_of_saving_again(tmp_path, monkeypatch)
    hidden = f".ckpt-24-{os.getpid()}"
    assert calls[0] == f"mkdir {hidden}"
    assert sorted(calls[1:5]) == ["fsync"] * 4  # of three files and their folder
    assert calls[5:8] == ["rename ckpt-24 ckpt-24.old", f"rename {hidden} ckpt-24", "fsync"]
    assert calls[8] == "rename ckpt-24.old .ckpt-24.old-X"
    assert sorted(calls[9:]) == [
        *("rmdir .ckpt-24.old-X", "unlink state.json", f"unlink {DATA}", f"unlink {INDEX}")
    ]


@pytest.mark.parametrize("left", ["", "ckpt-24.old"])
def test_killed_at_each_call_that_changes_the_folder(tmp_path, monkeypatch, left):
    """With one checkpoint, the same step saved again: it, or the new one, is visible and whole.

    The next start clears what is left and does the same. `left`: by a kill before this one.
    """
    base = tmp_path / "base"
    saved(base)
    if left:
        shutil.copytree(base / "ckpt-24", base / left)
    number = 0
    while True:
        folder = tmp_path / f"killed-{number}"
        shutil.copytree(base, folder)
        with monkeypatch.context() as patch:
            Disk(patch, number)
            try:
                again(folder)
            except Killed:
                pass
            else:
                break
        found = newest_whole(folder)
        assert found is not None, number
        assert found.state["stopped"] in ("", "max_steps")
        publishing.clear(folder)
        assert newest_whole(folder) == found
        again(folder)
        assert [path.name for path in folder.iterdir()] == ["ckpt-24"]
        assert newest_whole(folder).state["stopped"] == "max_steps"
        number += 1
    assert number == (13 if not left else 18)
    assert newest_whole(folder).state["stopped"] == "max_steps"


@pytest.mark.parametrize(("name", "times"), [("mkdir", 1), ("rename", 3), ("fsync", 5)])
def test_a_failing_call_leaves_what_was_there(tmp_path, monkeypatch, name, times):
    base = tmp_path / "base"
    saved(base)
    for number in range(times + 1):
        folder, calls, real = tmp_path / f"failed-{number}", [], getattr(os, name)
        shutil.copytree(base, folder)

        def failing(*args, real=real, calls=calls, number=number, **options):
            calls.append(args)
            if len(calls) == number + 1:
                raise OSError(28, "No space left on device")
            return real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            if number < times:
                with pytest.raises(OSError, match="No space left"):
                    again(folder)
            else:
                again(folder)
        assert newest_whole(folder) is not None
        assert not list(folder.glob(f".ckpt-24-{os.getpid()}"))
