"""A run's checkpoints, from each folder that a person may name."""

import json

import pytest

from mnist_dist.errors import UsageError
from mnist_dist.run.find import find


@pytest.fixture
def run(tmp_path):
    """checkpoints/ and output/, as a launcher makes them, with steps 40, 80 and 120."""
    for step in (40, 80, 120):
        (tmp_path / f"checkpoints/ckpt-{step}").mkdir(parents=True)
    (tmp_path / "checkpoints/previous-1").mkdir()
    (tmp_path / "checkpoints/.ckpt-160-7").mkdir()  # being written
    (tmp_path / "output").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", [".", "checkpoints", "output"])
def test_the_newest(run, name):
    found = find(str(run / name))
    assert (found.folder.resolve(), found.step) == (run / "checkpoints", None)
    assert found.newest_step == 120


def test_one_by_its_name(run, monkeypatch):
    monkeypatch.chdir(run / "checkpoints/ckpt-80")
    for name in (str(run / "checkpoints/ckpt-80"), "../ckpt-80", "."):
        found = find(name)
        assert (found.folder, found.newest_step, found.step) == (run / "checkpoints", 80, 80)


@pytest.mark.parametrize("place", ["", "output/"])
def test_by_the_result(run, tmp_path, place):
    folder = tmp_path / "elsewhere"
    (folder / place).mkdir(parents=True)
    result = {"config": {"checkpoint_dir": str(run / "checkpoints")}}
    (folder / place / "result.json").write_text(json.dumps(result))
    found = find(str(folder))
    assert (found.folder, found.newest_step) == (run / "checkpoints", 120)
    assert found.result == result


def test_home(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run))
    assert find("~").newest_step == 120


def test_a_folder_of_runs_names_them(tmp_path):
    for name in ("b/ckpt-40", "a/checkpoints/ckpt-40", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c/output").mkdir(parents=True)
    (tmp_path / "c/output/result.json").write_text("{}")
    with pytest.raises(UsageError) as refused:
        find(str(tmp_path))
    runs = ", ".join(f"{tmp_path}/{name}" for name in "abc")
    assert str(refused.value) == f"{tmp_path}: a folder of 3 run(s); give one of them: {runs}"
    for number in range(9):
        (tmp_path / f"many/{number}/ckpt-1").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"of 9 run.*many/4, \.\.\.$"):
        find(str(tmp_path / "many"))


def test_refused(tmp_path):
    def line(path):
        with pytest.raises(UsageError) as refused:
            find(str(path))
        return str(refused.value)

    assert "an empty name of a run; give a run's" in line("")
    assert f"{tmp_path}/none: no such folder; give a run's" in line(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    assert f"{tmp_path}/file: a file; give a run's" in line(tmp_path / "file")
    assert f"{tmp_path}: no run is there: neither checkpoints" in line(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    assert f"{tmp_path}/result.json: can't be read ('config'); give" in line(tmp_path)
    gone = {"config": {"checkpoint_dir": f"{tmp_path}/gone"}}
    (tmp_path / "result.json").write_text(json.dumps(gone))
    assert f"names {tmp_path}/gone, and no checkpoint is there" in line(tmp_path)
