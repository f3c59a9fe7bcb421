"""Trainers that wait at given global steps for a test to act: its side of tests/hold.py."""

import sys
from pathlib import Path

import psutil

from tests.waiting import wait_for

HOLD = Path(__file__).with_name("hold.py")
DEADLINE_S = 240


def interpreter(folder, steps):
    """Writes a program that stands in for the interpreter of a launcher that has no SLURM.

    Args:
        folder: for the program and the marks of the trainers.
        steps: where the trainers wait, such as "20,40".

    Returns:
        Its path.
    """
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -u {HOLD} {folder} {steps} "$@"\n')
    path.chmod(0o755)
    return path


def held(folder, step, tasks, job="0"):
    """Waits until all trainers hold at a step; returns their processes by rank.

    A trainer goes on when it is told to stop, or by `release`.
    """
    paths = [folder / f"held-{job}-{step}-{rank}" for rank in range(tasks)]

    def there():
        return all(path.exists() and path.read_text().endswith("\n") for path in paths)

    wait_for(f"{tasks} tasks that hold at step {step}", there, DEADLINE_S)
    return [psutil.Process(int(path.read_text())) for path in paths]


def release(folder, step, job="0"):
    """Lets the trainers that hold at a step go on."""
    (folder / f"release-{job}-{step}").touch()
