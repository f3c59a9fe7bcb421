"""docs/lesson.ipynb as it is kept: without outputs, with commands that exist."""

import json
import re
import shlex
import sys
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


def test_the_plan_has_ninety_minutes_and_each_section():
    rows = re.findall(r"^\| (\d+) \| ([\d, ]+) \|", TEXT, flags=re.M)
    assert sum(int(minutes) for minutes, _ in rows) == 90
    planned = {int(number) for _, numbers in rows for number in numbers.split(",")}
    assert planned == set(map(int, re.findall(r"^## (\d)\.", TEXT, flags=re.M)))


def test_answers_are_hidden_below_their_questions():
    asked = [piece.count("<summary>Answer</summary>") for piece in re.split(r"\*\*Exercise", TEXT)]
    assert asked == [2, 1, 1, 1, 1]  # two questions come before the exercises
    assert TEXT.count("<details>") == TEXT.count("</details>") == 6


def test_the_program_in_an_answer_is_python():
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    compile(program, "answer", "exec")


@pytest.mark.parametrize("layout", ["docs", "colab", "nothing"])
def test_the_first_cell_installs_what_is_missing(monkeypatch, tmp_path, layout):
    """In docs/ of the repository; on Colab, where the repository is beside the notebook."""
    cell = next("".join(c["source"]) for c in LESSON["cells"] if c["cell_type"] == "code")
    repository = tmp_path if layout == "docs" else tmp_path / "repository"
    here = repository / "docs" if layout == "docs" else tmp_path
    (repository / "docs").mkdir(parents=True)
    if layout != "nothing":
        (repository / "mnist_dist").mkdir()
        (repository / "mnist_dist/__init__.py").touch()
    installed = []

    def install():
        exec(cell, {})  # noqa: S102

    monkeypatch.chdir(here)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("subprocess.run", lambda command, check: installed.append(command))
    if layout == "nothing":
        with pytest.raises(SystemExit, match="Put the repository's folder into"):
            install()
        return
    install()
    assert installed == [[sys.executable, "-m", "pip", "install", "-q", f"{repository}[lesson]"]]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: "there")
    install()
    assert len(installed) == 1
