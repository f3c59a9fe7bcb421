"""Folders that a run writes in."""

import os

import pytest

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run.folders import clear, move_aside, writable, writable_file


def test_leaves_nothing(tmp_path):
    writable(tmp_path / "a" / "b", "--output_dir")
    assert list(tmp_path.iterdir()) == []


def test_leaves_what_was_there(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("kept")
    writable(tmp_path / "there", "--output_dir")
    writable(tmp_path / "there" / "more", "--output_dir")
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "file"]


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writable(tmp_path.relative_to(tmp_path) / "a" / "b", "--output_dir")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("{}/file/below", "Not a directory"),
        ("{}/file", "File exists"),
        ("/proc/nowhere/x", "No such file or directory"),
        ("{}/" + "x" * 300, "File name too long"),
    ],
    ids=["below-a-file", "a-file", "proc", "long"],
)
def test_refuses(tmp_path, place, why):
    (tmp_path / "file").write_text("kept")
    folder = type(tmp_path)(place.format(tmp_path))
    with pytest.raises(UsageError) as caught:
        writable(folder, "--output_dir")
    assert str(caught.value) == (
        f"--output_dir={folder}: can't write there ({why}); "
        "give a folder that this user may write to"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_refuses_what_the_user_may_not(tmp_path):
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:  # who may write anywhere
        os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            writable(tmp_path, "--output_dir")
    finally:
        os.seteuid(user)


def test_a_file_is_written_only_under_a_name_for_it(tmp_path):
    """Not in the place of a folder, a device or a FIFO, nor of a file of another kind."""
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "device.csv").symlink_to("/dev/full")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "result.json").write_text("the run's own")
    for name in ("fifo.csv", "folder.csv", "device.csv"):
        with pytest.raises(UsageError, match=rf"^--to=.*{name}: isn't a regular file; give ano"):
            writable_file(str(tmp_path / name), "--to", ".csv")
    for name in ("", "result.json", "folder.csv/.."):
        with pytest.raises(UsageError, match=r"^--to=.*: give a name that ends in \.csv$"):
            writable_file(name and str(tmp_path / name), "--to", ".csv")
    with pytest.raises(UsageError, match=r"^--to=: give a name of a file$"):
        writable_file("", "--to")
    with pytest.raises(UsageError, match="File name too long; give another name"):
        writable_file("x" * 300, "--to")
    with pytest.raises(UsageError, match=r"^the folder of --to=.*old\.csv: can't write there"):
        writable_file(str(tmp_path / "old.csv" / "new"), "--to")
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in ("old.csv", "new.CSV", "loop.csv", "below/new.csv"):
        assert writable_file(str(tmp_path / name), "--to", ".csv") == tmp_path / name
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_aside_takes_the_next_free_number(tmp_path):
    for number in (1, 2):
        (tmp_path / "file").write_text(f"{number}")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "x").write_text("")
        place = move_aside(tmp_path, [tmp_path / "file", tmp_path / "folder"])
        assert place == tmp_path / f"previous-{number}"
        assert (place / "file").read_text() == f"{number}"
        assert (place / "folder" / "x").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["previous-1", "previous-2"]


def test_aside_killed_on_its_way_goes_on(tmp_path, monkeypatch):
    """At each of its calls: what was moved and what follows come to one previous-N."""
    for number in range(5):
        folder = tmp_path / str(number)
        paths = [folder / "file", folder / "folder", folder / "more"]
        folder.mkdir()
        (folder / "previous-1").mkdir()
        for path in paths:
            path.mkdir()
        calls = []

        def killed(*names, calls=calls, number=number, real=os.rename):
            calls.append(names)
            if len(calls) > number:
                raise KeyboardInterrupt
            return real(*names)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", killed)
            try:
                move_aside(folder, paths)
            except KeyboardInterrupt:
                assert number < 4
            else:
                assert number == 4
        rest = [path for path in paths if path.exists()]
        if rest:
            assert move_aside(folder, rest) == folder / "previous-2"
        expected = folder / "previous-2" if (folder / ".previous").exists() else None
        assert move_aside(folder, []) == expected
        assert sorted(path.name for path in folder.iterdir()) == ["previous-1", "previous-2"]
        moved = sorted(path.name for path in (folder / "previous-2").iterdir())
        assert moved == ["file", "folder", "more"]


def test_what_is_gathered_isnt_written_over(tmp_path):
    """A killed move had the same name: it is closed, and the next one is another."""
    (tmp_path / ".previous").mkdir()
    for place, text in ((tmp_path / ".previous", "older"), (tmp_path, "newer")):
        (place / "file").write_text(text)
    assert move_aside(tmp_path, [tmp_path / "file"]) == tmp_path / "previous-2"
    assert (tmp_path / "previous-1" / "file").read_text() == "older"
    assert (tmp_path / "previous-2" / "file").read_text() == "newer"


def test_aside_that_cant_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"could not write .*: No such file or directory"):
        move_aside(tmp_path, [tmp_path / "gone"])


def test_litter_is_cleared(tmp_path):
    for name in (".write-7", ".metrics.jsonl.7", "metrics.jsonl", ".other"):
        (tmp_path / name).write_text("")
    clear(tmp_path, [".metrics.jsonl*"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "metrics.jsonl"]


def test_a_file_in_the_way_of_the_move(tmp_path):
    (tmp_path / ".previous").write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"/\.previous is a file, and .*; delete or rename it"):
        move_aside(tmp_path, [tmp_path / "file"])
    assert move_aside(tmp_path, []) is None
