"""The file by which workers find worker 0."""

import json
import os
import stat

import pytest

from mnist_dist.cluster import meeting_file
from mnist_dist.errors import UsageError


def test_it_is_there_while_they_meet(tmp_path):
    file = meeting_file.path(str(tmp_path / "runs" / "new"), "start-a")
    with meeting_file.published(file, ["10.0.0.1", "::1"], 2000) as token:
        assert meeting_file.read(file) == (("10.0.0.1", "::1"), 2000, token)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(list(file.parent.iterdir())) == 1
    assert not list(tmp_path.iterdir())  # with the folders that were made for it


def test_each_start_has_a_file_and_each_file_a_token(tmp_path):
    one, other = (meeting_file.path(str(tmp_path), start) for start in ("a", "b"))
    assert one != other
    with (
        meeting_file.published(one, ["n1"], 1) as first,
        meeting_file.published(one, ["n2"], 2) as second,  # while the first still waits
    ):
        assert first != second
        assert meeting_file.read(one).token == second
    assert not list(tmp_path.iterdir())


def test_another_workers_file_is_left_alone(tmp_path):
    file = meeting_file.path(str(tmp_path), "a")
    with meeting_file.published(file, ["n1"], 1):
        file.write_text(json.dumps({"addresses": ["n2"], "port": 2, "token": "other"}))
    assert meeting_file.read(file).token == "other"


def test_old_files_are_deleted(tmp_path):
    old, young = (tmp_path / f"{meeting_file.PREFIX}{name}" for name in ("old", "young"))
    for file in (old, young):
        file.touch()
    os.utime(old, (1, 1))
    with meeting_file.published(meeting_file.path(str(tmp_path), "a"), ["n1"], 1):
        assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"addresses": [], "port": 1, "token": "t"}',
        '{"addresses": "n1", "port": 1, "token": "t"}',
        '{"addresses": ["a b"], "port": 1, "token": "t"}',
        '{"addresses": ["n1"], "port": 0, "token": "t"}',
        '{"addresses": ["n1"], "port": 65536, "token": "t"}',
        '{"addresses": ["n1"], "port": [], "token": "t"}',
        '{"addresses": ["n1"], "port": 1, "token": 1}',
        '{"addresses": ["n1"], "port": 1, "token": "t", "more": 1}',
        "[" * 9_000,
        '{"addresses": ["n1"], "port": 1, "token": "' + "t" * 10_000 + '"}',
    ],
)
def test_what_isnt_worker_0s_is_refused(tmp_path, content):
    file = meeting_file.path(str(tmp_path), "a")
    file.write_text(content)
    with pytest.raises(ValueError, match=r"\w"):
        meeting_file.read(file)


def test_a_file_of_another_user_is_refused(tmp_path):
    file = meeting_file.path(str(tmp_path), "a")
    with meeting_file.published(file, ["n1"], 1):
        if os.geteuid() == 0:
            os.chown(file, 65534, 65534)
            with pytest.raises(ValueError, match="another user"):
                meeting_file.read(file)
        file.unlink()
        file.symlink_to(tmp_path / "trap")
        with pytest.raises(ValueError, match="another user"):
            meeting_file.read(file)


def test_a_folder_that_cant_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    file = meeting_file.path(str(tmp_path / "file"), "a")
    with (
        pytest.raises(UsageError, match=f"by a file in {tmp_path}/file, which can't be written"),
        meeting_file.published(file, ["n1"], 1),
    ):
        pass
