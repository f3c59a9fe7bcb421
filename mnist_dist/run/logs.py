"""Files that a run appends to, and which of their lines a resumed run keeps."""

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
    """The contents of a log when a checkpoint is saved, which stores this.

    Attributes:
        records: the number of lines, or of records of a binary file.
        size_bytes: the file's size.
        sha256: the file's digest.
    """

    records: int
    size_bytes: int
    sha256: str


class Log:
    """Appends records to a file, which it creates. All methods raise RunError if writing fails."""

    def __init__(self, path: Path, records: int = 0, contents: bytes = b"") -> None:
        """Opens the file.

        Args:
            path: the file.
            records: the number of records it has.
            contents: its contents, needed only if the digest of `written` is used.
        """
        self._path, self._records = path, records
        self._size, self._digest = len(contents), hashlib.sha256(contents)
        self._buffer = bytearray()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def write(self, record: bytes, counts: bool = True) -> None:
        """Appends to a buffer, flushed when full; counted as a record if `counts`."""
        self._buffer += record
        self._records += counts
        self._size += len(record)
        self._digest.update(record)
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Passes the buffer to the operating system."""
        with writing(self._path):
            while self._buffer:
                del self._buffer[: self._file.write(self._buffer)]

    def sync(self) -> None:
        """Syncs what was flushed to the disk."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def written(self) -> Written:
        """Returns the contents' size and digest, buffered records included."""
        return Written(self._records, self._size, self._digest.hexdigest())

    def close(self) -> None:
        """Flushes and closes."""
        self.flush()
        self._file.close()


def contents(path: Path) -> bytes:
    """Returns a file's bytes; empty if there is no file.

    Raises:
        RunError: it can't be read, or isn't a regular file.
    """
    try:
        return bounded.read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"could not read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"could not read {path}: it {error}") from error


class Kept(NamedTuple):
    """The lines of a JSONL file that are kept on resume.

    Attributes:
        records: the lines' objects.
        contents: the lines' bytes.
        lost: the number of lines that the checkpoint counted and that can't be read.
        changed: whether the file differs from what the checkpoint remembers.
    """

    records: list[dict[str, Any]]
    contents: bytes
    lost: int
    changed: bool


def kept_lines(
    data: bytes, written: Written | None, kept: Callable[[dict[str, Any]], bool]
) -> Kept:
    """Selects the lines of a JSONL file that a resumed run keeps.

    Args:
        data: the file.
        written: its contents when the checkpoint was saved; later lines are dropped. None if
            unknown.
        kept: whether a record belongs to the run up to the checkpoint; used only if the file
            differs from `written`.
    """
    if written and hashlib.sha256(data[: written.size_bytes]).hexdigest() == written.sha256:
        data = data[: written.size_bytes]
        lines = data.splitlines(keepends=True)
        return Kept([json.loads(line) for line in lines], data, 0, False)
    lines, records = list[bytes](), list[dict[str, Any]]()
    by_split: dict[str, list[int]] = {}
    for line in data.splitlines(keepends=True):
        record = _record(line)
        if record is not None and kept(record):
            by_split.setdefault(str(record.get("split")), []).append(len(lines))
            lines.append(line)
            records.append(record)
    # A step may be there twice, after a kill and a resume, or a bit of its number may have flipped.
    selected = sorted(
        indices[n]
        for indices in by_split.values()
        for n in _longest_rise([records[index]["step"] for index in indices])
    )
    lost = max(written.records - len(selected), 0) if written else 0
    contents = b"".join(lines[index] for index in selected)
    return Kept([records[index] for index in selected], contents, lost, written is not None)


def _longest_rise(numbers: list[int]) -> list[int]:
    """Returns the indices of a longest increasing subsequence by patience sorting."""
    ends, values = list[int](), list[int]()  # index and value of the last of each length
    before: list[int | None] = []
    for index, number in enumerate(numbers):
        length = bisect.bisect_left(values, number)
        before.append(ends[length - 1] if length else None)
        ends[length : length + 1] = [index]
        values[length : length + 1] = [number]
    found = ends[-1:]
    while found and (earlier := before[found[-1]]) is not None:
        found.append(earlier)
    return found[::-1]


def _record(line: bytes) -> dict[str, Any] | None:
    """Returns the object of a whole line that has a global step; else None."""
    try:
        record = bounded.loads(line.decode()) if line.endswith(b"\n") else None
    except ValueError:
        return None
    fits = isinstance(record, dict) and type(record.get("step")) is int
    return record if fits else None
