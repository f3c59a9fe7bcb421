"""One run folder, one run: with real trainings, in processes of their own."""

import signal

import pytest

from tests.process.trainer import DEADLINE_S, folders
from tests.process.training.test_resume import Stoppable
from tests.waiting import wait_for

LONG = ("--epochs=50", "--log_interval=1", "--checkpoint_every_steps=10")


@pytest.fixture
def first(tmp_path, small):
    """A run in mid-training that waits for its output to be read, and has a checkpoint."""
    started = Stoppable(tmp_path, *small, *LONG)
    started.read_to(lambda line: line.startswith("Batch #20"))
    wait_for("a checkpoint", lambda: list((tmp_path / "ck").glob("ckpt-*")), DEADLINE_S)
    yield started
    started.close()


def test_the_second_is_refused_and_a_killed_one_is_followed_at_once(first, trainer, small):
    folder, pid = first.folder, first._process.pid
    for argv in (folders(folder), (f"--checkpoint_dir={folder}/other", folders(folder)[1])):
        second = trainer.main(*small, *LONG, *argv)
        assert f"={folder}/" in second.refused()
        assert f", process {pid}), which is alive; wait for it, stop it, or give" in second.err
    assert not (folder / "other").exists()
    assert first.end_by(signal.SIGKILL).code == -signal.SIGKILL
    assert sorted(path.parent.name for path in folder.glob("*/run-1.lock")) == ["ck", "out"]
    goes_on = trainer(*small, *LONG, "--max_steps=60", folder=folder)
    assert goes_on.code == 0, goes_on.err
    assert "Goes on from" in goes_on.out
    assert list(goes_on.losses()) == list(range(1, 61))
    assert not list(folder.glob("*/run-*.lock"))
