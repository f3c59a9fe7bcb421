"""Takes back what a run wrote after its checkpoint: a resumed run will write it again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from mnist_dist.run import frames
from mnist_dist.run.atomic import replace
from mnist_dist.run.folders import writing
from mnist_dist.run.logs import Rest, Written, contents, rest_of


def lines(path: Path, then: Written | None, kept: Callable[[dict[str, Any]], bool]) -> Rest:
    """Leaves a JSONL file's lines that are to be kept, byte for byte (see `rest_of`).

    Raises:
        RunError: the file can't be read or written.
    """
    data = contents(path)
    rest = rest_of(data, then, kept)
    if rest.contents != data:
        with writing(path):
            replace(path, rest.contents)
    return rest


def readable(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file that can be read, which stays as it is.

    Raises:
        RunError: the file can't be read.
    """
    return rest_of(contents(path), None, lambda _: True).records


def events(path: Path, last_step: int) -> int:
    """Leaves an event file's whole records of steps up to `last_step`.

    Returns:
        How many stay; a file's head isn't counted.

    Raises:
        RunError: the file can't be read or written.
    """
    data = contents(path)
    whole, kept = [], 0
    for framed in frames.frames(data):
        try:
            event = tf.compat.v1.Event.FromString(frames.record_of(framed))
        except DecodeError:
            continue
        if event.step <= last_step:
            whole.append(framed)
            kept += event.WhichOneof("what") != "file_version"
    if b"".join(whole) != data:
        with writing(path):
            replace(path, b"".join(whole))
    return kept
