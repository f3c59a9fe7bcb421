"""Starts the process that measures some replicas, and reads its result."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from mnist_dist.bench.plan import Task
from mnist_dist.errors import EXIT_USAGE, RunError, UsageError, shorten


@contextlib.contextmanager
def measured(task: Task, flags: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the result of `level.measure`; its process lives until the context ends.

    Other workers may still communicate with it.

    Args:
        task: what to measure.
        flags: of the trainer.

    Raises:
        UsageError, RunError: with the process's own message.
    """
    command = [sys.executable, "-m", "mnist_dist.bench.child", json.dumps(task), *flags]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 -- for mypy
        # A library may print lines of its own before.
        found = next((line for line in process.stdout if line.startswith(b"{")), None)
        if found is None:
            raise _failure(process.wait(), task.rank, errors)
        yield json.loads(found)


def _failure(code: int, rank: int, errors: IO[bytes]) -> Exception:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    said = [line for line in lines if line.startswith("mnist_dist: ")]
    text = (said or lines or [f"ended with exit code {code}"])[-1].removeprefix("mnist_dist: ")
    if code == EXIT_USAGE:
        return UsageError(text)
    return RunError(f"worker {rank} (host {socket.gethostname()}): {shorten(text, 500)}")
