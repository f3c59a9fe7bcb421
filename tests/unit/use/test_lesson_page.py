"""docs/lesson.ipynb as it is kept: without outputs, with commands that exist."""

import json
import re
import shlex
from pathlib import Path

import pytest

from mnist_dist import flags

LESSON = json.loads((Path(__file__).parents[3] / "docs/lesson.ipynb").read_text())
TEXT = "\n".join(
    "".join(cell["source"]) for cell in LESSON["cells"] if cell["cell_type"] == "markdown"
)
COMMANDS = re.findall(r"^python -m mnist_dist\.train (.*)$", TEXT, flags=re.M)


def test_it_is_kept_without_what_a_run_leaves():
    for cell in LESSON["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert LESSON["metadata"]["language_info"] == {"name": "python"}  # no version of one machine


def test_the_four_challenges_have_flags():
    exercises = re.split(r"\*\*Exercise \d", TEXT)[1:]
    assert len(exercises) == 4
    wanted = (("conv_filters", "dense_units"), ("optimizer",), ("patience",), ("residual",))
    for text, names in zip(exercises, wanted, strict=True):
        assert all(f"--{name}" in text for name in names)
    assert "--batch_norm" in exercises[3]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command):
    flags.parse(shlex.split(command))


def test_there_are_commands():
    assert len(COMMANDS) == 10
