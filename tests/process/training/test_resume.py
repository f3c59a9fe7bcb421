"""A run that was stopped, or killed, and goes on gives what a run never stopped gives, bit for bit.

The runs compared have all that has a state: an adaptive optimizer, averaged weights, batch
statistics, a schedule, dropout, augmentation, patience.
"""

import fcntl
import json
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from mnist_dist.run import digest
from tests import warm
from tests.process.trainer import DEADLINE_S, ROOT, TRAIN, Run, environment, folders

PER_EPOCH, STEPS = 313, 360  # of 8 images, an epoch's last of 4
STATES = (
    *("--batch_size=8", "--log_interval=1", f"--max_steps={STEPS}"),
    *("--optimizer=adam", "--schedule=cosine", "--batch_norm", "--ema=0.9"),
    *("--shift_px=1", "--rotate_deg=10", "--patience=2"),
    *("--checkpoint_every_steps=100", "--keep_checkpoints=20"),
)


@pytest.fixture(scope="module")
def whole(trainer, small):
    """Never stopped."""
    run = trainer(*small, *STATES)
    assert run.code == 0, run.err
    assert list(run.losses()) == list(range(1, STEPS + 1))
    assert [line["step"] for line in run.metrics("test")] == [PER_EPOCH, STEPS]
    return run


# Measured, or looked at, after each call of the graph; and a run that was stopped has others.
BY_BLOCK = {"images_per_s", "input_wait", "memory_bytes", "loss_scale"}


def contents(folder):
    """Path -> bytes and time of change of all files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def assert_same(trainer, run, whole):
    """The same metrics, curves and weights; each block's time once."""
    metrics = (whole.folder / "out/metrics.jsonl").read_bytes()
    assert (run.folder / "out/metrics.jsonl").read_bytes() == metrics
    for part in ("", "validation", "eval"):
        found = trainer.series(run.folder / "out" / part)
        expected = trainer.series(whole.folder / "out" / part)
        assert list(found) == list(expected)
        for tag, points in found.items():
            steps = [step for step, _ in points]
            assert steps == sorted(set(steps))
            if tag not in BY_BLOCK:
                assert points == expected[tag]
    times = run.lines("times.jsonl")
    steps, seconds = [line["step"] for line in times], [line["seconds"] for line in times]
    assert steps == sorted(set(steps))
    assert seconds == sorted(seconds)
    assert steps[-1] == whole.lines("times.jsonl")[-1]["step"]
    last = f"ck/ckpt-{whole.checkpoints()[-1]}"
    assert run.checkpoints()[-1] == whole.checkpoints()[-1]
    a, b = trainer.weights(run.folder / last), trainer.weights(whole.folder / last)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in ("test_loss", "test_accuracy", "validation_loss", "stopped", "steps", "epochs"):
        assert run.result()[name] == whole.result()[name]


class Stoppable:
    """A training in a process of its own, a few kB of output ahead of its reader at most.

    The pipe's size holds it back: a line is printed for each step, and 4 kB are some 160 lines.
    """

    def __init__(self, folder, *flags):
        self.folder = folder
        self._process = warm.Popen(
            [*TRAIN, *flags, *folders(folder)],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0, "cwd": ROOT},
            env=environment(),
        )
        fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, 4096)

    def read_to(self, reached):
        """Reads lines until `reached(line)`."""
        while line := self._process.stdout.readline():
            if reached(line.decode()):
                return
        pytest.fail(f"it ended first: {self._process.communicate()[1]}")

    def end_by(self, number):
        self._process.send_signal(number)
        out, err = self._process.communicate(timeout=DEADLINE_S)
        return Run(self._process.returncode, out.decode(), err.decode(), self.folder)

    def close(self):
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def stoppable(tmp_path, small):
    started = Stoppable(tmp_path, *small, *STATES)
    yield started
    started.close()


def newest_on_disk(folder):
    """The newest checkpoint's step, and the last step in metrics.jsonl; 0 for none."""
    saved = Run(0, "", "", folder).checkpoints()
    path = folder / "out/metrics.jsonl"
    lines = path.read_text().splitlines()[:-1] if path.exists() else []
    return (saved or [0])[-1], json.loads(lines[-1])["step"] if lines else 0


def test_told_to_stop(stoppable, trainer, small, whole):
    """In mid-epoch, by SIGTERM: it saves and leaves with the code that a launcher requeues on."""
    stoppable.read_to(lambda line: line.startswith("Batch #20\t"))
    run = stoppable.end_by(signal.SIGTERM)
    assert run.code == 75, run.err
    assert run.err == ""
    (step,) = (line["step"] for line in run.lines("times.jsonl")[-1:])
    assert 20 < step < PER_EPOCH
    assert f"\nStopped by SIGTERM: saved at global step {step}, to go on later.\n" in run.out
    assert run.checkpoints()[-1] == step
    assert (run.result()["stopped"], run.result()["steps"]) == ("preempted", step)
    assert run.result()["test_accuracy"] is None  # there was no evaluation yet
    goes_on = trainer(*small, *STATES, "--resume=must", folder=run.folder)
    assert f"Goes on from {run.folder}/ck/ckpt-{step}, global step {step}.\n" in goes_on.out
    assert re.findall(r"Batch #(\d+)", goes_on.out)[0] == str(step)
    assert_same(trainer, goes_on, whole)


def test_killed(stoppable, trainer, small, whole):
    """By kill -9, when the files have lines of steps that no checkpoint has."""

    def further(_):
        saved, written = newest_on_disk(stoppable.folder)
        return saved and written > saved

    stoppable.read_to(further)
    run = stoppable.end_by(signal.SIGKILL)
    assert run.code == -signal.SIGKILL
    saved, written = newest_on_disk(run.folder)
    assert 0 < saved < written
    goes_on = trainer(*small, *STATES, folder=run.folder)
    assert f"Goes on from {run.folder}/ck/ckpt-{saved}, global step {saved}.\n" in goes_on.out
    assert_same(trainer, goes_on, whole)


def test_stopped_by_max_steps(trainer, small, whole):
    """In mid-epoch, where no block ends for a run never stopped; its evaluation is taken back."""
    first = trainer(*small, *STATES, "--max_steps=153")
    assert [line["step"] for line in first.metrics("test")] == [153]
    assert first.result()["stopped"] == "max_steps"
    assert_same(trainer, trainer(*small, *STATES, folder=first.folder), whole)


def test_float16_and_its_loss_scale(trainer, small):
    flags = [*small, "--log_interval=1", "--precision=mixed_float16"]
    whole = trainer(*flags, "--max_steps=30")
    first = trainer(*flags, "--max_steps=13")
    assert_same(trainer, trainer(*flags, "--max_steps=30", folder=first.folder), whole)


def test_a_finished_run_ends_at_once(trainer, small, base):
    """It says so, prints its test line and changes no file."""
    before = contents(base.folder)
    again = trainer(*small, "--epochs=2", folder=base.folder)
    assert again.code == 0
    assert again.err == ""
    assert again.out.splitlines()[3:] == [
        "This run is finished (completed, global step 80).",
        *base.out.splitlines()[-3:],
    ]
    assert again.out.splitlines()[-3].startswith("Test set: Average loss: ")
    assert contents(base.folder) == before


def test_fewer_steps_than_a_finished_run_has(trainer, small, base):
    before = contents(base.folder)
    again = trainer(*small, "--epochs=2", "--max_steps=60", folder=base.folder)
    assert again.code == 0
    assert again.out.splitlines()[3] == (
        f"Nothing to train: {base.folder}/ck/ckpt-80 has 80 global steps, and the flags ask for "
        "60. --resume=never begins anew."
    )
    assert contents(base.folder) == before


def test_more_epochs_go_on(trainer, small, every):
    run = trainer(*small, "--epochs=1", "--log_interval=1")
    assert run.result()["stopped"] == "completed"
    assert_same(
        trainer, trainer(*small, "--epochs=2", "--log_interval=1", folder=run.folder), every
    )


@pytest.mark.parametrize("stage", ["", "an evaluation"])
def test_told_to_stop_at_an_epochs_end(trainer, small, subset, every, tmp_path, stage):
    """In its last block: the evaluation isn't lost. In the evaluation: no further block is run."""
    flags = {
        **{"no_gpu": True, "conv_filters": (2, 4), "dense_units": (16,), "epochs": 2},
        **{"data_dir": subset, "validation_size": 500, "log_interval": 1},
        **{"checkpoint_dir": tmp_path / "ck", "output_dir": tmp_path / "out"},
    }
    told = {"told": "SIGUSR1", "told_in": stage}
    size = 10 if stage else 40
    assert trainer.api(**told, steps_per_loop=size, **flags)["stopped"] == "preempted"
    assert Run(0, "", "", tmp_path).checkpoints() == [40]
    goes_on = trainer(*small, "--epochs=2", "--log_interval=1", folder=tmp_path)
    assert_same(trainer, goes_on, every)


def test_stopped_where_its_end_is_now(trainer, small, subset, tmp_path):
    """Saved at step 10 in mid-epoch without an evaluation, and 10 (or 5) is all that is wanted."""
    for steps in (10, 5):
        folder = tmp_path / str(steps)
        flags = {
            **{"no_gpu": True, "conv_filters": (2, 4), "dense_units": (16,)},
            **{"data_dir": subset, "validation_size": 500},
            **{"checkpoint_dir": folder / "ck", "output_dir": folder / "out"},
        }
        assert trainer.api(told="SIGTERM", steps_per_loop=10, **flags)["stopped"] == "preempted"
        run = trainer(*small, f"--max_steps={steps}", folder=folder)
        assert run.code == 0, run.err
        assert [line["step"] for line in run.metrics("test")] == [10]
        assert run.result()["stopped"] == "max_steps"
        again = trainer(*small, f"--max_steps={steps}", folder=folder)
        assert "This run is finished (max_steps, global step 10)." in again.out


@pytest.fixture(scope="module")
def saved_thrice(trainer, small):
    """Checkpoints of steps 10, 20 and 30, in mid-epoch; and the run that goes on to step 50."""
    flags = [*small, "--log_interval=1", "--checkpoint_every_steps=10"]
    run = trainer(*flags, "--max_steps=30")
    assert run.checkpoints() == [10, 20, 30]
    return run, trainer(*flags, "--max_steps=50"), flags


def truncate(path, size=-1):
    path.write_bytes(path.read_bytes()[:size])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DATA, INDEX, STATE = "weights.data-00000-of-00001", "weights.index", "state.json"


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (lambda folder: truncate(folder / DATA), f"its file {DATA} is damaged"),
        (lambda folder: flip(folder / DATA), f"its file {DATA} is damaged"),
        (lambda folder: flip(folder / INDEX), f"its file {INDEX} is damaged"),
        (lambda folder: (folder / DATA).unlink(), "it is not whole"),
        (lambda folder: truncate(folder / STATE, 40), f"its file {STATE} is damaged"),
        (lambda folder: flip(folder / STATE), f"its file {STATE} is damaged"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "it is not whole"),
        (lambda folder: folder.rename(folder.with_name("ckpt-31")), "it says that it is of step"),
    ],
    ids=["truncated", "flipped", "index", "missing", "state", "flipped-state", "empty", "renamed"],
)
def test_a_damaged_checkpoint_is_skipped(trainer, saved_thrice, tmp_path, harm, word):
    """With a word, and the older one is used; it never counts as one that is kept."""
    run, whole, flags = saved_thrice
    subprocess.run(["cp", "-r", f"{run.folder}/ck", f"{run.folder}/out", tmp_path], check=True)
    harm(tmp_path / "ck/ckpt-30")
    goes_on = trainer(*flags, "--max_steps=50", "--keep_checkpoints=1", folder=tmp_path)
    assert goes_on.code == 0, goes_on.err
    (line,) = (line for line in goes_on.out.splitlines() if line.startswith("Skipped"))
    assert line.startswith(f"Skipped {tmp_path}/ck/ckpt-3")
    assert word in line
    assert f"What was skipped is in {tmp_path}/ck/previous-1.\n" in goes_on.out
    assert f"Goes on from {tmp_path}/ck/ckpt-20, global step 20.\n" in goes_on.out
    assert_same(trainer, goes_on, whole)
    assert goes_on.checkpoints() == [50]
    assert [path.name[:6] for path in (tmp_path / "ck/previous-1").iterdir()] == ["ckpt-3"]


def test_a_finished_run_prunes_nothing_while_newer_ones_are_damaged(trainer, small, tmp_path):
    """Otherwise the damaged one would count as the newest, and the only whole one would go."""
    trainer(*small, "--max_steps=20", folder=tmp_path)
    trainer(*small, "--max_steps=30", folder=tmp_path)
    flip(tmp_path / "ck/ckpt-30" / DATA)
    run = trainer(*small, "--max_steps=20", "--keep_checkpoints=1", folder=tmp_path)
    assert run.code == 0, run.err
    assert "Skipped" in run.out
    assert run.checkpoints() == [20, 30]
    assert "This run is finished (max_steps, global step 20)." in run.out


def test_all_checkpoints_damaged(trainer, saved_thrice, tmp_path):
    """It begins anew; with --resume=must it doesn't, and leaves all as it is."""
    run, whole, flags = saved_thrice
    subprocess.run(["cp", "-r", f"{run.folder}/ck", f"{run.folder}/out", tmp_path], check=True)
    for step in (10, 20, 30):
        flip(tmp_path / f"ck/ckpt-{step}" / DATA)
    before = contents(tmp_path)
    refused = trainer(*flags, "--max_steps=50", "--resume=must", folder=tmp_path)
    assert "--resume=must: there is no whole checkpoint in" in refused.refused()
    assert refused.out.count("Skipped") == 3
    assert {k: v for k, v in contents(tmp_path).items() if k.parent != tmp_path} == before
    anew = trainer(*flags, "--max_steps=50", folder=tmp_path)
    assert_same(trainer, anew, whole)
    kept = {path.name for path in (tmp_path / "ck/previous-1").iterdir()}
    assert kept == {"ckpt-10", "ckpt-20", "ckpt-30"}
    earlier = (tmp_path / "out/previous-1/metrics.jsonl").read_bytes()
    assert earlier == (run.folder / "out/metrics.jsonl").read_bytes()


def test_what_a_crash_left_of_the_files_is_dropped(trainer, saved_thrice, tmp_path):
    """From the first line, or record, that can't be read."""
    run, whole, flags = saved_thrice
    subprocess.run(["cp", "-r", f"{run.folder}/ck", f"{run.folder}/out", tmp_path], check=True)
    for name in ("metrics.jsonl", "times.jsonl"):
        with (tmp_path / "out" / name).open("ab") as file:
            file.write(b'\0\0\n{"step": 7, "split": "train"}\n{"step": 8, "spl')
    (events,) = (tmp_path / "out").glob("events.*")
    with events.open("ab") as file:  # a record's length, and nothing of it
        file.write((40).to_bytes(8, "little") + b"abcd")
    assert_same(trainer, trainer(*flags, "--max_steps=50", folder=tmp_path), whole)


def test_litter_of_a_killed_save_is_cleared(trainer, saved_thrice, tmp_path):
    run, whole, flags = saved_thrice
    subprocess.run(["cp", "-r", f"{run.folder}/ck", f"{run.folder}/out", tmp_path], check=True)
    (tmp_path / "ck/ckpt-30").rename(tmp_path / "ck/.ckpt-30-123")
    goes_on = trainer(*flags, "--max_steps=50", folder=tmp_path)
    assert "Skipped" not in goes_on.out
    assert_same(trainer, goes_on, whole)
    names = sorted(path.name for path in (tmp_path / "ck").iterdir())
    assert names == ["ckpt-10", "ckpt-20", "ckpt-30", "ckpt-40", "ckpt-50"]


def test_resume_never(trainer, saved_thrice, tmp_path):
    """Begins anew; what was there is moved, not written over."""
    run, whole, flags = saved_thrice
    subprocess.run(["cp", "-r", f"{run.folder}/ck", f"{run.folder}/out", tmp_path], check=True)
    anew = trainer(*flags, "--max_steps=50", "--resume=never", folder=tmp_path)
    places = " and ".join(f"{tmp_path}/{part}/previous-1" for part in ("ck", "out"))
    assert f"Begins anew: what was there is in {places}.\n" in anew.out
    assert_same(trainer, anew, whole)
    for part in ("ck", "out"):
        moved = {
            path.relative_to(tmp_path / part / "previous-1"): path.read_bytes()
            for path in (tmp_path / part / "previous-1").rglob("*")
            if path.is_file()
        }
        assert moved == {
            path.relative_to(run.folder / part): path.read_bytes()
            for path in (run.folder / part).rglob("*")
            if path.is_file()
        }


def test_resume_must_without_a_checkpoint(trainer, small, tmp_path):
    run = trainer(*small, "--resume=must", folder=tmp_path)
    assert run.refused() == (
        f"mnist_dist: --resume=must: there is no whole checkpoint in {tmp_path}/ck; "
        "give the run's --checkpoint_dir, or --resume=auto\n"
    )
    assert not (tmp_path / "ck").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--lr=0.02"], "lr: 0.01 then, 0.02 now"),
        (["--seed=1", "--batch_size=32"], "batch_size: 64 then, 32 now; seed: 0 then, 1 now"),
        (["--conv_filters=2,4,1"], "conv_filters: [2, 4] then, [2, 4, 1] now"),
        (["--validation_size=400"], "validation_size: 500 then, 400 now; data: "),
        (["--precision=float64"], "precision: float32 then, float64 now"),
    ],
    ids=["rate", "seed", "network", "data", "precision"],
)
def test_another_runs_checkpoint_is_refused(trainer, saved_thrice, flags, difference):
    """With the difference named; nothing is written over."""
    run, _, ours = saved_thrice
    before = contents(run.folder)
    if flags == ["--conv_filters=2,4,1"]:
        flags = [*flags, "--kernel_size=2"]
    refused = trainer(*ours, *flags, folder=run.folder)
    assert difference in refused.refused()
    assert "--resume=never to begin anew in its place, or keep both: python -m" in refused.err
    assert contents(run.folder) == before


def test_a_checkpoint_of_another_format_is_refused(trainer, saved_thrice, tmp_path):
    run, _, ours = saved_thrice
    shutil.copytree(run.folder, tmp_path / "run")
    state = tmp_path / "run" / "ck" / f"ckpt-{run.checkpoints()[-1]}" / "state.json"
    record = json.loads(state.read_text())
    del record["digest"], record["bytes"]
    state.write_text(json.dumps({**record, "format": 1}, indent=1))
    before = contents(tmp_path / "run")
    refused = trainer(*ours, folder=tmp_path / "run")
    assert f"{state.parent} is of format 1, this version reads 2" in refused.refused()
    assert contents(tmp_path / "run") == before


def test_a_resume_on_other_hardware_says_that_bits_may_differ(trainer, small):
    """Also of a checkpoint that doesn't say what it was computed on, which isn't asked."""
    run = trainer(*small, "--max_steps=2")
    state = run.folder / "ck/ckpt-2/state.json"
    record = digest.verified(state.read_bytes())
    assert {"tensorflow", "cpu", "cpu_features", "data_format"} <= set(
        record["state"]["arithmetic"]
    )
    version = record["state"]["arithmetic"]["tensorflow"]
    record["state"]["arithmetic"]["tensorflow"] = "1.0.0"
    state.write_bytes(digest.with_digest(record))
    said = "The bits may differ from here on"
    there = trainer(*small, "--max_steps=4", folder=run.folder)
    assert f"{said} (tensorflow: 1.0.0 then, {version} now).\n" in there.out
    assert said not in trainer(*small, "--max_steps=6", folder=run.folder).out
    state = run.folder / "ck/ckpt-6/state.json"
    record = digest.verified(state.read_bytes())
    del record["state"]["arithmetic"]
    state.write_bytes(digest.with_digest(record))
    old = trainer(*small, "--max_steps=8", folder=run.folder)
    assert (old.code, said in old.out) == (0, False)
