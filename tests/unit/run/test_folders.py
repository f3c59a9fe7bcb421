"""Folders that a run writes in."""

import os

import pytest

from mnist_dist.errors import UsageError
from mnist_dist.run.folders import aside, writable


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
        "give a folder that this user may write in"
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


def test_aside_takes_the_next_free_number(tmp_path):
    for number in (1, 2):
        (tmp_path / "file").write_text(f"{number}")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "x").write_text("")
        place = aside(tmp_path, [tmp_path / "file", tmp_path / "folder"])
        assert place == tmp_path / f"previous-{number}"
        assert (place / "file").read_text() == f"{number}"
        assert (place / "folder" / "x").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["previous-1", "previous-2"]
