"""Each `python -m mnist_dist.train ...` of README and docs runs: smaller and shorter, as it stands.

tests/unit/test_pages.py says which test runs the other commands.
"""

import re
import shlex

import pytest

from tests.pages import PAGES, commands
from tests.process.trainer import train

TRAIN = "python -m mnist_dist.train"


def training():
    found = [c for page in PAGES for c in commands(page.read_text())]
    # The last of these wins over what a page says; folders are the test's own, too.
    return dict.fromkeys(c for c in found if re.fullmatch(rf"{TRAIN}( --[\w=.,/-]+)*", c))


@pytest.mark.parametrize("command", training())
def test_training(command, trainer, small, tmp_path):
    given = shlex.split(command.removeprefix(TRAIN))
    shorter = (*given, *small, "--max_steps=2", "--batch_size=16", "--warmup_steps=0")
    # Logical devices are made once in a process.
    own = any("virtual_devices" in flag for flag in given)
    run = train(tmp_path, *shorter) if own else trainer(*shorter)
    assert run.code == 0, run.err
    assert run.result()["steps"] == 2


def test_there_are_such_commands():
    assert f"{TRAIN} --no_gpu --run_dir=runs/first" in training()
