"""Counts a job's attempts that saved no newer checkpoint, in a file beside the checkpoints."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from mnist_dist import bounded
from mnist_dist.run.atomic import replace

RECORD = "attempts.json"
MOST_BYTES = 10_000


class Record(NamedTuple):
    """A job's earlier attempts.

    Attributes:
        job: the scheduler's number of it.
        step: the newest checkpoint's global step after the last try.
        tries: in a row that brought no newer one.
    """

    job: str = ""
    step: int = 0
    tries: int = 0


def read(path: Path) -> tuple[Record, str]:
    """The record of the earlier tries, and what is wrong with it; then the record is empty.

    Raises:
        OSError: it is there and can't be read.
    """
    try:
        found = bounded.loads(bounded.read_text(path, MOST_BYTES))
    except (FileNotFoundError, IsADirectoryError):
        return Record(), "is a directory" if path.is_dir() else ""
    except ValueError as error:
        return Record(), f"is damaged ({error})"
    if not isinstance(found, dict) or set(found) != set(Record._fields):
        return Record(), "is damaged (no job, step and tries)"
    numbers = found["step"], found["tries"]
    if not isinstance(found["job"], str) or any(type(n) is not int or n < 0 for n in numbers):
        return Record(), "is damaged (a job, step or number of tries that can't be)"
    return Record(**found), ""


def write(path: Path, record: Record) -> None:
    """Replaces the record, whole or not at all; the folder is made if it doesn't exist.

    Raises:
        OSError: it can't be written.
    """
    if path.is_dir():
        path.rename(path.with_name(f"{path.name}.damaged-{os.getpid()}"))
    replace(path, json.dumps(record._asdict()).encode())


def count(before: Record, job: str, step: int) -> Record:
    """The record after a try of `job` that left the newest checkpoint at global step `step`."""
    tries = before.tries if before.job == job else 0
    return Record(job, step, 0 if step > before.step else tries + 1)
