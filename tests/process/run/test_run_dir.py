"""Where a run leaves its files, and what a second run of other flags is told."""

import re
import shlex

import pytest

from mnist_dist.report.__main__ import main as report
from tests.process.trainer import Run

FILES = {"metrics.jsonl", "times.jsonl", "result.json", "predictions.npz"}


def test_one_folder_for_a_run(trainer, small, tmp_path):
    """`--run_dir=DIR` is DIR and DIR/checkpoints; the same command again goes on."""
    flags = [*small, "--max_steps=2", f"--run_dir={tmp_path}/a"]
    assert trainer.main(*flags).code == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} > FILES
    assert [path.name for path in (tmp_path / "a/checkpoints").iterdir()] == ["ckpt-2"]
    assert "This run is finished (max_steps, global step 2)." in trainer.main(*flags).out
    run = trainer.main(*flags, "--max_steps=4")
    assert f"Goes on from {tmp_path}/a/checkpoints/ckpt-2, global step 2." in run.out
    assert report([str(tmp_path / "a"), f"--output={tmp_path}/page.html"]) == 0


def test_the_notebooks_folder_has_all_of_a_run(trainer, small, tmp_path):
    """Without --output_dir the files are beside the checkpoints, and the report reads them."""
    flags = [*small, "--max_steps=2", f"--checkpoint_dir={tmp_path}/ck"]
    assert trainer.main(*flags).code == 0
    assert FILES | {"ckpt-2"} < {path.name for path in (tmp_path / "ck").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]
    assert report([str(tmp_path / "ck"), f"--output={tmp_path}/page.html"]) == 0
    again = trainer.main(*flags, "--resume=never")
    assert again.code == 0, again.err
    assert f"Begins anew: what was there is in {tmp_path}/ck/previous-1.\n" in again.out
    assert FILES | {"ckpt-2"} < {path.name for path in (tmp_path / "ck/previous-1").iterdir()}
    assert not (tmp_path / "ck/previous-2").exists()


@pytest.mark.parametrize("first", ["--checkpoint_dir={}/ck", "--run_dir={}/runs/a"])
def test_a_refusal_ends_with_a_command_that_works(trainer, small, tmp_path, monkeypatch, first):
    place = first.format(tmp_path)
    trainer.main(*small, "--max_steps=2", place)
    refused = trainer.main(*small, "--max_steps=2", place, "--lr=0.02", "--seed=1")
    line = Run(refused.code, refused.out, refused.err, tmp_path).refused()
    command = re.search(r"or keep both: (python -m mnist_dist.train .*)\n", line)[1]
    runs = f"{tmp_path}/runs" if "run_dir" in first else "runs"
    assert command.endswith(f" --run_dir={runs}/seed1-lr0.02")
    given = [word.replace("--run_dir=runs/", f"--run_dir={tmp_path}/runs/") for word in
             shlex.split(command)[3:]]  # fmt: skip
    done = trainer.main(*given)
    assert done.code == 0, done.err
    assert (tmp_path / "runs/seed1-lr0.02/checkpoints/ckpt-2").is_dir()
    if "run_dir" in first:  # the name is taken now
        refused = trainer.main(*small, "--max_steps=2", place, "--lr=0.02", "--seed=1")
        assert refused.err.endswith("/runs/seed1-lr0.02-2\n")


def test_other_data_are_named(trainer, small, tmp_path):
    flags = [*small, "--max_steps=1", f"--run_dir={tmp_path}/a"]
    trainer.main(*flags)
    refused = trainer.main(*flags, "--validation_size=400")
    assert refused.err.endswith(f" --run_dir={tmp_path}/validation_size400-data\n")
