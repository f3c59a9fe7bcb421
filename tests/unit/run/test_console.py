"""What is printed, on a terminal and without one; each in a process of its own."""

import os
import re
import subprocess
import sys

import pytest

from mnist_dist.run.console import Console, wrapped
from tests.terminal import on_a_terminal, shown

HEAD = (
    "import sys, time; from mnist_dist.run.bar import Pace; from mnist_dist.run.console import *\n"
)


def printed(code, columns=60, **streams):
    """Runs code: what was written on the terminal, and what to a pipe."""
    text, piped, exit_code = on_a_terminal([sys.executable, "-c", HEAD + code], columns, **streams)
    assert exit_code == 0, text
    return text, piped


START = """
with Console() as console:
    console.stage("importing TensorFlow")
    console.line("a line")
    console.stage("")
    console.line("another")
"""


def test_the_start_is_shown_and_leaves_no_trace():
    text, _ = printed(START)
    assert "importing TensorFlow" in text
    assert shown(text) == ["a line", "another", ""]
    assert "\x1b" not in text, "no escape codes, so that NO_COLOR and TERM=dumb have their will"


def test_piped_output_is_the_lines_alone():
    """As in `... | tee log`: the start is shown on standard error while that is a terminal."""
    text, out = printed(START, stdout=subprocess.PIPE)
    assert out == "a line\nanother\n"
    assert "importing TensorFlow" in text
    assert shown(text) == [""]


def test_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", HEAD + START], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("a line\nanother\n", "")


@pytest.mark.parametrize("arguments", ["chief=False", "verbosity=-1"])
def test_quiet(arguments):
    text, _ = printed(START.replace("Console()", f"Console({arguments})"))
    assert text == ""


def test_ctrl_c_is_answered_by_the_chief_alone():
    code = "Console({}).notice('stopping')"
    assert printed(code.format(""))[0] == "mnist_dist: stopping\r\n"
    assert printed(code.format("verbosity=-1"))[0] == "mnist_dist: stopping\r\n"
    assert printed(code.format("chief=False"))[0] == ""
    assert printed(code.format(""), columns=15)[0] == "mnist_dist:\r\nstopping\r\n"


def test_what_a_terminal_writes_of_ctrl_c_is_covered():
    code = """
with Console() as console:
    console.stage("working")
    os.write(1, b"^C^C")
    console.notice("stopping")
    os.write(1, b"^C")
"""
    assert shown(printed(code)[0]) == ["mnist_dist: stopping", ""]


def test_the_line_moves_on_by_itself():
    """While something lasts, its seconds are counted."""
    code = """
with Console() as console:
    console.stage("importing TensorFlow")
    until = time.monotonic() + 30
    while console._shown != len("importing TensorFlow 1 s") and time.monotonic() < until:
        time.sleep(0.05)
"""
    text, _ = printed(code)
    assert re.search(r"importing TensorFlow [1-9] s", text)
    assert shown(text) == [""]


RUN = """
with Console() as console:
    console.begin(Pace(0, 20, 64, 20, 0))
    console.advance(10, 2.5)
    with console.doing("saving"):
        console.line("in between")
    console.line("Batch #10\\tLoss: 2.5")
    raise SystemExit
"""


def test_a_run():
    text, _ = printed(RUN)
    drawn = [part for part in text.replace("\n", "\r").split("\r") if part.startswith("step ")]
    empty, half = " " * 20, "\u2588" * 10 + " " * 10
    assert drawn[0] == f"step 0/20 |{empty}|, compiling the first block"
    assert f"step 10/20 |{half}|, saving" in drawn
    assert drawn[-1] == f"step 10/20 |{half}|, loss 2.5000"
    assert shown(text) == ["in between", "Batch #10\tLoss: 2.5", ""]


def test_a_terminal_of_ascii_has_a_bar_of_ascii():
    text, _ = printed(RUN, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert "step 10/20 |##########----------|, loss 2.5000" in text


def test_lines_are_wrapped_at_words():
    long = "Data: embedded MNIST (/some/folder/with-a-name/mnist): 55000 train"
    text, _ = printed(f"with Console() as console: console.line({long!r})", columns=40)
    assert shown(text)[:2] == ["Data: embedded MNIST", "(/some/folder/with-a-name/mnist): 55000"]
    assert wrapped("a\tb\n\nc", 3) == "a\tb\n\nc"
    assert wrapped("longer-than-that", 5) == "longer-than-that"


COMPLAINT = """
from mnist_dist.errors import UsageError
complain(UsageError("a run with other flags; or keep both", "python -m mnist_dist.train --lr=0.02"))
"""


def test_an_error_is_one_line_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", HEAD + COMPLAINT], capture_output=True, text=True)
    assert done.stderr == (
        "mnist_dist: a run with other flags; or keep both: python -m mnist_dist.train --lr=0.02\n"
    )


def test_on_a_terminal_the_command_can_be_copied():
    text, _ = printed(COMPLAINT, columns=30)
    assert shown(text) == [
        *("mnist_dist: a run with other", "flags; or keep both:", ""),
        *("  python -m mnist_dist.train --lr=0.02", "", ""),
    ]


def test_a_jobs_log_has_fewer_loss_lines(capsys):
    for every_s, expected in ((0.0, 3), (3600.0, 1)):
        console = Console(loss_every_s=every_s)
        for batch in (0, 10, 20):
            console.loss(batch, 0.5)
        console.line("Test set")
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"Batch #{10 * n}\tLoss: 0.500000" for n in range(expected)] + ["Test set"]
