"""Files that a run appends to, and what of them is left when it goes on."""

import bisect
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.errors import RunError
from mnist_dist.run.folders import writing

BUFFER_BYTES = 8192
MOST_BYTES = 1 << 30  # ten million lines


class Written(NamedTuple):
    """What a log holds at some time; a checkpoint remembers it.

    Attributes:
        records: lines, or records of a binary file.
        size_bytes: of the file.
        sha256: of the file up to there.
    """

    records: int
    size_bytes: int
    sha256: str


class Log:
    """Appends records to a file, which is made by the first. Raises RunError where it can't."""

    def __init__(self, path: Path, records: int = 0, contents: bytes = b"") -> None:
        """Args:
        path: the file.
        records: how many it has.
        contents: what it holds, if what is written is to be known of (see `written`).
        """
        self._path, self._records = path, records
        self._size, self._digest = len(contents), hashlib.sha256(contents)
        self._waiting = bytearray()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def write(self, record: bytes, counts: bool = True) -> None:
        """Appends; `counts` unless it is but a file's head. In the file when the buffer is full."""
        self._waiting += record
        self._records += counts
        self._size += len(record)
        self._digest.update(record)
        if len(self._waiting) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hands all to the operating system."""
        with writing(self._path):
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting)]

    def sync(self) -> None:
        """Brings to the disk what was flushed."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def written(self) -> Written:
        """What it holds now."""
        return Written(self._records, self._size, self._digest.hexdigest())

    def close(self) -> None:
        """Flushes and closes."""
        self.flush()
        self._file.close()


def contents(path: Path) -> bytes:
    """A file's bytes; none where there is no file.

    Raises:
        RunError: it can't be read, or is no file.
    """
    try:
        return bounded.read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"could not read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"could not read {path}: it {error}") from error


class Rest(NamedTuple):
    """What is left of a JSONL file that goes on.

    Attributes:
        records: the lines that stay.
        contents: the file's bytes, the same lines.
        lost: how many lines were there when the checkpoint was saved, and can't be read.
        changed: whether the file isn't what it was then, lines that can be read too.
    """

    records: list[dict[str, Any]]
    contents: bytes
    lost: int
    changed: bool


def rest_of(data: bytes, then: Written | None, kept: Callable[[dict[str, Any]], bool]) -> Rest:
    """The lines of a JSONL file that stay when a run goes on.

    Args:
        data: the file.
        then: what it held when the checkpoint was saved; what follows was written later. None
            where that isn't known.
        kept: whether a line is part of the run up to the checkpoint; asked if `data` was changed.
    """
    if then and hashlib.sha256(data[: then.size_bytes]).hexdigest() == then.sha256:
        data = data[: then.size_bytes]
        lines = data.splitlines(keepends=True)
        return Rest([json.loads(line) for line in lines], data, 0, False)
    lines, records = list[bytes](), list[dict[str, Any]]()
    by_split: dict[str, list[int]] = {}
    for line in data.splitlines(keepends=True):
        record = _record(line)
        if record is not None and kept(record):
            by_split.setdefault(str(record.get("split")), []).append(len(lines))
            lines.append(line)
            records.append(record)
    # A step may stand twice, by a run that was killed and done again, or have become another.
    stay = sorted(
        places[n]
        for places in by_split.values()
        for n in _longest_rise([records[place]["step"] for place in places])
    )
    lost = max(then.records - len(stay), 0) if then else 0
    contents = b"".join(lines[place] for place in stay)
    return Rest([records[place] for place in stay], contents, lost, then is not None)


def _longest_rise(numbers: list[int]) -> list[int]:
    """Where the longest of the rising subsequences is (Schensted 1961: patience sorting)."""
    ends, values = list[int](), list[int]()  # of the best rise of each length: where, how high
    before: list[int | None] = []
    for place, number in enumerate(numbers):
        length = bisect.bisect_left(values, number)
        before.append(ends[length - 1] if length else None)
        ends[length : length + 1] = [place]
        values[length : length + 1] = [number]
    found = ends[-1:]
    while found and (earlier := before[found[-1]]) is not None:
        found.append(earlier)
    return found[::-1]


def _record(line: bytes) -> dict[str, Any] | None:
    """A whole line's object, of some global step; None for anything else."""
    try:
        record = bounded.loads(line.decode()) if line.endswith(b"\n") else None
    except ValueError:
        return None
    fits = isinstance(record, dict) and type(record.get("step")) is int
    return record if fits else None
