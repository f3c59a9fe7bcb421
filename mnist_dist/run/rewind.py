"""Takes back what a run wrote after its checkpoint: a resumed run will write it again."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError


def lines(path: Path, kept: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Leaves a JSONL file's whole lines that are to be kept, byte for byte; returns them.

    What follows a line that can't be read was written later, by a run that was killed.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole, records = [], []
    for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:
            break
        if kept(record):
            whole.append(line)
            records.append(record)
    replace(path, b"".join(whole))
    return records


def events(path: Path, last_step: int) -> None:
    """Leaves an event file's whole records of steps up to `last_step`.

    The file is of TFRecord's frames: length, its checksum, the record, its checksum.
    """
    data = path.read_bytes()
    start, whole = 0, []
    while start + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, start)
        end = start + 12 + size + 4
        try:
            event = tf.compat.v1.Event.FromString(data[start + 12 : end - 4])
        except DecodeError:
            break
        if end > len(data):
            break
        if event.step <= last_step:
            whole.append(data[start:end])
        start = end
    replace(path, b"".join(whole))


def replace(path: Path, data: bytes) -> None:
    """Gives a file new contents in one step, on the disk when this returns."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
