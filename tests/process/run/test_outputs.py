"""Outputs that can't be written: a training goes on and saves, other commands end quietly."""

import subprocess

import pytest

from tests import warm
from tests.process.trainer import ROOT, TRAIN, environment, folders
from tests.unit.test_exits import module

FULL = "mnist_dist: standard output can't be written (No space left on device)\n"


def shell(command, redirection):
    line = f'set -o pipefail; "$@" {redirection}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *command],
        **{"capture_output": True, "text": True, "timeout": 240, "cwd": ROOT},
        env=environment(),
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("run")
    flags = (*small, "--max_steps=20", *folders(folder))
    done = warm.run([*TRAIN, *flags], capture_output=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("redirection", "lines", "said"),
    [("| head -2", 2, ""), (">/dev/full", 0, FULL), (">&-", 0, ""), (">&- 2>&-", 0, "")],
)
def test_a_training_whose_log_is_gone_trains_on_and_saves(
    tmp_path, small, run_dir, redirection, lines, said
):
    flags = (*small, "--max_steps=20", *folders(tmp_path))
    code, out, err = shell([*TRAIN, *flags], redirection)
    assert (code, out.count("\n"), err) == (0, lines, said)
    assert (tmp_path / "ck/ckpt-20").is_dir()
    for name in ("out/metrics.jsonl", "ck/ckpt-20/weights.index"):
        assert (tmp_path / name).read_bytes() == (run_dir / name).read_bytes()


@pytest.mark.parametrize(
    "command",
    [["evaluate", "{}/ck"], ["report", "{}/out", "--format=md"], ["doctor", "--no_gpu"]],
    ids=lambda command: command[0],
)
def test_a_command_whose_reader_has_gone_ends_quietly(run_dir, tmp_path, command):
    name, *rest = command
    words = [*module(name), *(word.format(run_dir) for word in rest)]
    code, out, err = shell(words, "| head -1")
    assert (code, out.count("\n"), err) == (0, 1, "")
    code, _, err = shell(words, ">/dev/full")
    assert (code, err) == (1, FULL)
