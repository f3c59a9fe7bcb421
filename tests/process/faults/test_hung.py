"""A disk that hangs, as a network file system does whose server is gone."""

import signal
import subprocess

import pytest

from tests.process.faults.disk import HUNG, Disk
from tests.process.trainer import DEADLINE_S, ROOT, TRAIN, environment, folders
from tests.waiting import wait_for


@pytest.fixture
def started(tmp_path, small):
    """A training whose first save hangs; its outputs are files."""
    disk = Disk(tmp_path)
    disk.arm(tmp_path / "ck/.ckpt-", 2, HUNG)  # the folder is made, but nothing in it
    with (tmp_path / "out.txt").open("w") as out, (tmp_path / "err.txt").open("w") as err:
        process = subprocess.Popen(
            [*TRAIN, *small, "--epochs=1000", *folders(tmp_path)],
            **{"stdout": out, "stderr": err, "cwd": ROOT},
            env=environment(**disk.environment),
        )
    yield process
    process.kill()
    process.wait()


def test_ctrl_c_three_times_leaves_at_once(started, tmp_path):
    """The first asks for a save, the second waits for it, the third doesn't."""
    err, hidden = tmp_path / "err.txt", (tmp_path / "ck").glob
    wait_for("a step", lambda: "Batch #" in (tmp_path / "out.txt").read_text(), DEADLINE_S)
    answers = [
        "stopping after a block, saving; again to leave without saving",
        "stopping when this save is done; again to leave at once",
        "leaving without saving",
    ]
    for number, answer in enumerate(answers):
        if number == 1:
            wait_for("a save", lambda: list(hidden(".ckpt-*")), DEADLINE_S)
        started.send_signal(signal.SIGINT)
        wait_for(answer, lambda answer=answer: answer in err.read_text(), DEADLINE_S)
    assert started.wait(DEADLINE_S) == 130
    last = "interrupted; what was saved before is left"
    assert err.read_text().splitlines() == [f"mnist_dist: {text}" for text in [*answers, last]]
    assert not list((tmp_path / "ck").glob("ckpt-*"))
