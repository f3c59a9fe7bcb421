"""When a job that ended is tried again."""

import json
import os

import pytest

from mnist_dist import requeue
from mnist_dist.run import digest, store


def checkpoint(folder, step):
    store.publish(folder, step, {}, lambda place: (place / "weights").write_bytes(b"1"))
    return folder / f"ckpt-{step}"


@pytest.fixture
def ended(tmp_path, capsys):
    """One more try of a job that ended: (exit code of requeue, what it said)."""

    def end(code=1, job="7", step=0, restarts=2):
        if step:
            checkpoint(tmp_path, step)
        words = [f"--exit_code={code}", f"--job={job}", f"--max_restarts={restarts}", "--"]
        done = requeue.main([*words, f"--checkpoint_dir={tmp_path}", "--epochs=3"])
        return done, capsys.readouterr().out

    return end


def test_without_progress_it_is_bounded(ended):
    assert [ended()[0] for _ in range(4)] == [0, 0, 1, 1]


def test_progress_starts_the_count_anew(ended):
    assert [ended(step=step)[0] for step in (0, 0, 10, 10, 10, 20, 20, 20, 20)] == [
        *(0, 0, 0, 0, 0, 0, 0, 0, 1)
    ]


def test_a_stop_without_progress_counts_too(ended):
    assert [ended(code=75)[0] for _ in range(3)] == [0, 0, 1]


def test_another_job_starts_the_count_anew(ended):
    assert [ended(job=job)[0] for job in "778"] == [0, 0, 0]


def test_no_restarts(ended):
    done, said = ended(restarts=0)
    assert done == 1
    assert "0 restarts" in said


def test_what_it_says(ended):
    goes_on = "the next try goes on from step 40"
    assert f"saved when told to stop; {goes_on}" in ended(code=75, step=40)[1]
    assert f"failed; try 1 of 2 without progress; {goes_on}" in ended(step=40)[1]


def test_only_whole_checkpoints_count(ended, tmp_path):
    """One that was being replaced by one of the same step, too: what a resume would go on from."""
    for name in (".ckpt-90-123", "ckpt-x", "ckpt-80"):
        (tmp_path / name).mkdir()
    checkpoint(tmp_path, 5)
    checkpoint(tmp_path, 12).rename(tmp_path / "ckpt-12.old")
    (checkpoint(tmp_path, 40) / "weights").write_bytes(b"0")
    assert ended()[1].endswith("the next try goes on from step 12.\n")


def test_a_checkpoint_that_no_try_can_read_is_said(tmp_path, capsys):
    path = checkpoint(tmp_path, 7) / "state.json"
    path.write_bytes(digest.with_digest({"format": 3}))
    words = ["--exit_code=1", "--job=7", "--max_restarts=1", "--", f"--checkpoint_dir={tmp_path}"]
    assert requeue.main(words) == 2
    assert "ckpt-7 is of format 3, this version reads 2" in capsys.readouterr().err


def test_wrong_flags_are_said(capsys):
    assert requeue.main(["--exit_code=1", "--job=7", "--max_restarts=1", "--", "--epoch=3"]) == 2
    assert "--epochs" in capsys.readouterr().err


def test_the_record_is_json(ended, tmp_path):
    ended(step=10)
    assert json.loads((tmp_path / requeue.RECORD).read_text()) == {
        **{"job": "7", "step": 10, "tries": 0}
    }


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


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_said_and_counted_anew(ended, tmp_path, content):
    record = tmp_path / requeue.RECORD
    record.write_bytes(content if isinstance(content, bytes) else content.encode())
    done, said = ended(restarts=1)
    assert done == 0
    first, _ = said.splitlines()
    assert first.startswith(f"mnist_dist: {record} is damaged (")
    assert DAMAGED[content] in first
    assert first.endswith("earlier tries aren't counted.")
    assert ended(restarts=1)[0] == 1  # from here on they are counted


def test_a_folder_or_a_fifo_in_the_place_of_the_record(ended, tmp_path):
    record = tmp_path / requeue.RECORD
    for make, said in ((record.mkdir, "is a directory"), (lambda: os.mkfifo(record), "is no file")):
        make()
        done, line = ended()
        assert done == 0
        assert said in line
        assert json.loads(record.read_text())["tries"] == 1
        record.unlink()


def test_where_tries_cant_be_counted_there_is_no_further_one(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["--exit_code=1", "--job=7", "--max_restarts=1", "--"]
    assert requeue.main([*words, f"--checkpoint_dir={tmp_path}/file/ck"]) == 1
    assert "Tries can't be counted" in capsys.readouterr().out
