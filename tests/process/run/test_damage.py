"""What a run that goes on says of files that were changed since, and how it ends where it can't."""

import re
import subprocess

import pytest

from tests.process.training.test_resume import assert_same

HINT = "A run is a function of its flags: the same ones with new folders give all of it again.\n"


@pytest.fixture(scope="module")
def saved(trainer, small):
    """A run of 20 steps, and what it comes to with 30."""
    flags = [*small, "--log_interval=1", "--checkpoint_every_steps=10"]
    return trainer(*flags, "--max_steps=20"), trainer(*flags, "--max_steps=30"), flags


@pytest.fixture
def copy(saved, tmp_path):
    subprocess.run(["cp", "-r", f"{saved[0].folder}/ck", f"{saved[0].folder}/out", tmp_path])
    return tmp_path


def goes_on(trainer, saved, folder):
    run = trainer(*saved[2], "--max_steps=30", folder=folder)
    assert run.code == 0, run.err
    lost = re.findall(r"Lost of the steps before, since it was saved: (.*?)\. (.*\n)", run.out)
    assert all(hint == HINT for _, hint in lost)
    return run, [what for what, _ in lost]


def test_untouched(trainer, saved, copy):
    """Two lines of the evaluation in mid-epoch are taken back, which is no loss."""
    run, lost = goes_on(trainer, saved, copy)
    assert lost == []
    assert_same(trainer, run, saved[1])


def test_a_flipped_byte_costs_its_line(trainer, saved, copy):
    path = copy / "out/metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"{", b"\x7b\x00", 1)
    path.write_bytes(b"".join(lines))
    run, lost = goes_on(trainer, saved, copy)
    assert lost == ["1 of 20 lines of metrics.jsonl"]
    assert list(run.losses()) == [1, 2, 3, 4, *range(6, 31)]
    assert goes_on(trainer, saved, copy)[1] == []  # it was said


def test_a_changed_number_is_seen(trainer, saved, copy):
    path = copy / "out/metrics.jsonl"
    path.write_text(path.read_text().replace('"loss": 2', '"loss": 3', 1))
    assert goes_on(trainer, saved, copy)[1] == ["metrics.jsonl as it was (it was changed)"]


def test_deleted_and_emptied(trainer, saved, copy):
    (copy / "out/metrics.jsonl").unlink()
    (copy / "out/times.jsonl").write_bytes(b"")
    (events,) = (copy / "out").glob("events.*")
    data = bytearray(events.read_bytes())
    data[data.index(b"\n\x04loss") + 2] ^= (
        1  # in the third of six records, the first of two with a loss
    )
    events.write_bytes(data)
    run, (lost,) = goes_on(trainer, saved, copy)
    assert re.fullmatch(
        r"20 of 20 lines of metrics.jsonl, (\d) of \1 lines of times.jsonl, "
        r"1 of 6 records of TensorBoard's train curves",
        lost,
    )
    assert list(run.losses()) == list(range(21, 31))
    assert len(trainer.series(copy / "out")["loss"]) == 2


@pytest.mark.parametrize("name", ["metrics.jsonl", "times.jsonl", "result.json"])
def test_a_folder_in_a_files_place_is_one_line(trainer, saved, copy, name):
    (copy / "out" / name).unlink()
    (copy / "out" / name).mkdir()
    run = trainer(*saved[2], "--max_steps=30", folder=copy)
    assert f"out/{name}: Is a directory" in run.refused(code=1)


def test_a_trace_that_cant_be_written_is_one_line(trainer, small, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/plugins").write_text("")  # in the place of TensorBoard's folder
    flags = ("--max_steps=15", "--steps_per_loop=5", "--profile=5:5")
    run = trainer(*small, *flags, folder=tmp_path)
    assert f"could not write the trace under {tmp_path}/out: " in run.refused(code=1)


def test_leftovers_of_killed_runs_are_cleared(trainer, saved, copy):
    names = (".metrics.jsonl.77", ".result.json.77", ".predictions.npz", ".write-77")
    for name in names:
        (copy / "out" / name).write_text("")
    (copy / "ck/.write-77").write_text("")
    assert goes_on(trainer, saved, copy)[1] == []
    assert not [path for part in ("ck", "out") for path in (copy / part).glob(".*")]
