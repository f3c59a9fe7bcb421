"""Truncates a run's files to the step of its checkpoint: a resumed run repeats what follows.

TensorBoard alone would not hide the repeated steps: docs/files.md has what was tried.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from mnist_dist.run import frames
from mnist_dist.run.atomic import replace
from mnist_dist.run.folders import writing
from mnist_dist.run.logs import Kept, Written, contents, kept_lines


def lines(path: Path, written: Written | None, kept: Callable[[dict[str, Any]], bool]) -> Kept:
    """Truncates a JSONL file; the remaining lines keep their bytes. See `kept_lines`.

    Raises:
        RunError: the file can't be read or written.
    """
    data = contents(path)
    remaining = kept_lines(data, written, kept)
    if remaining.contents != data:
        with writing(path):
            replace(path, remaining.contents)
    return remaining


def readable(path: Path) -> list[dict[str, Any]]:
    """Returns the valid records of a JSONL file, and doesn't change the file.

    Raises:
        RunError: the file can't be read.
    """
    return kept_lines(contents(path), None, lambda _: True).records


def events(path: Path, last_step: int) -> int:
    """Deletes an event file's damaged records and those of steps after `last_step`.

    Returns:
        The number of remaining records, without the file's version record.

    Raises:
        RunError: the file can't be read or written.
    """
    data = contents(path)
    remaining, count = [], 0
    for frame in frames.frames(data):
        try:
            event = tf.compat.v1.Event.FromString(frames.record_of(frame))
        except DecodeError:
            continue
        if event.step <= last_step:
            remaining.append(frame)
            count += event.WhichOneof("what") != "file_version"
    if b"".join(remaining) != data:
        with writing(path):
            replace(path, b"".join(remaining))
    return count
