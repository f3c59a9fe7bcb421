"""The recipes in configs/ take their first steps, and the lines of the sweeps are networks."""

import math
import re
import shlex
from pathlib import Path

import pytest

from mnist_dist import flags
from mnist_dist.optimizers import OPTIMIZERS
from tests.process.trainer import ROOT

RECIPES = sorted((ROOT / "configs").glob("*.cfg"))
SWEEPS = sorted((ROOT / "configs/sweeps").glob("*.txt"))
STEPS = 3


def lines(sweep):
    """The tasks of a sweep, as launch/sweep.slurm reads it."""
    rows = [line.strip() for line in sweep.read_text().splitlines()]
    return [shlex.split(row) for row in rows if row and not row.startswith("#")]


def test_they_are_there():
    names = {"notebook", "fast", "balanced", "accurate", "cluster"}
    assert {path.stem for path in RECIPES} >= names
    assert {path.stem for path in SWEEPS} >= {"layers", "optimizers", "patience", "residual"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_first_steps_of_a_recipe(trainer, subset, path):
    """On 2,500 images, in smaller batches where a global batch is for many GPUs."""
    recipe = flags.parse([f"--flagfile={path}"])
    small = ["--no_gpu", f"--data_dir={subset}", "--validation_size=500", f"--max_steps={STEPS}"]
    small += ["--log_interval=1", f"--batch_size={min(recipe.batch_size, 128)}"]
    run = trainer(f"--flagfile={path}", *small)
    assert run.code == 0, run.err
    losses = run.losses()
    assert list(losses) == [1, 2, 3]
    assert losses[1] == pytest.approx(math.log(10), abs=1.0)
    assert all(math.isfinite(loss) for loss in losses.values())
    result = run.result()
    assert result["steps"] == STEPS
    asked = {**result["config"], "batch_size": recipe.batch_size}
    for flag in re.findall(r"^--(\w+)=", path.read_text(), re.MULTILINE):
        if flag not in ("validation_size", "log_interval"):
            assert asked[flag] == recipe.as_dict()[flag]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_head_has_its_command(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    commands = [line for line in head if f"--flagfile=configs/{path.name}" in line]
    assert len(commands) == 1
    assert commands[0].startswith(("#   python -m mnist_dist.train ", "#   sbatch "))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_lines_of_a_sweep(trainer, monkeypatch, path):
    """Each parses, as it is and with a seed behind it, and is a network; no two are the same."""
    monkeypatch.chdir(ROOT)
    found = []
    for line in lines(path):
        found.append(flags.parse(line))
        assert flags.parse([*line, "--seed=3"]).seed == 3
        described = trainer.main("--no_gpu", *line, "--describe")
        assert (described.code, described.err) == (0, "")
        assert "\ntotal " in described.out
    assert len(set(found)) == len(found) > 1
    ends = re.findall(r"--array=0-(\d+) launch/sweep.slurm configs/sweeps/(\S+)", path.read_text())
    assert ends == [(str(len(found) - 1), path.name)]


def test_the_optimizers_sweep_has_them_all():
    tasks = [flags.parse(line[1:]) for line in lines(Path(ROOT / "configs/sweeps/optimizers.txt"))]
    assert [task.optimizer for task in tasks] == ["sgd", "momentum", *list(OPTIMIZERS)[2:]]
    assert {task.optimizer for task in tasks} == set(OPTIMIZERS)
