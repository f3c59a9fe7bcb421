"""Reads files that may be damaged, endless or not regular: within bounds, or raises `Damaged`."""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_dist import bounded
from mnist_dist.errors import shorten
from mnist_dist.run.owner import MOST_BYTES, owner_of

RESULT_BYTES = 1 << 20
LINES_BYTES = 8 << 20  # some 70,000 lines
LARGEST = 1e30

SCORES = ("split", "step", "loss", "accuracy")
NAMES: dict[str | None, tuple[str, ...]] = {
    "train": (*SCORES, "lr"),
    "validation": SCORES,
    "test": SCORES,
    None: ("step", "seconds"),
}
"""Split -> the keys of a line that are used; lines of times.jsonl have no split."""
ALIVE_S = 60.0  # a run renews its lock every few seconds
WRITING_S = 600.0  # without a lock, the age of the last line counts; evaluations take minutes


class Damaged(Exception):
    """A file can't be used; the message says why in a few words."""


def content(path: Path, most_bytes: int) -> bytes | None:
    """A file's first `most_bytes`; None where there is none.

    Raises:
        Damaged: it can't be read, or is a folder, a pipe, a device.
    """
    try:
        with bounded.open_file(path) as file:
            return file.read(most_bytes)
    except FileNotFoundError:
        return None
    except (IsADirectoryError, ValueError) as error:
        raise Damaged("is no file") from error
    except OSError as error:
        raise Damaged(f"can't be read ({error.strerror})") from error


def parsed(text: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Damaged: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"is damaged ({type(error).__name__}: {shorten(error)})") from error
    if not isinstance(value, dict):
        raise Damaged(f"is damaged (a {type(value).__name__} where an object should be)")
    return value


def number(value: Any) -> bool:
    """Whether a value is a finite number of plottable size."""
    return type(value) in (int, float) and abs(value) <= LARGEST  # which NaN isn't


def lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Reads the complete lines of metrics.jsonl or times.jsonl, and keeps the keys that are used.

    Those that can't be read are left out; `notes` gets a line about them.
    """
    try:
        data = content(path, LINES_BYTES) or b""
    except Damaged as error:
        notes.append(f"{path.name} {error}")
        return []
    if len(data) == LINES_BYTES:
        notes.append(f"{path.name} is long: only its first {LINES_BYTES >> 20} MiB are read")
    records, bad = [], []
    # What follows the last newline is being written, or was when the run was killed.
    for count, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            records.append(_record(parsed(line)))
        except Damaged:
            bad.append(count)
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        notes.append(f"{path.name} is damaged at line {bad[0]}{more}, left out")
    return records


def _record(line: dict[str, Any]) -> dict[str, Any]:
    try:
        record = {name: line[name] for name in NAMES[line.get("split")]}
    except (KeyError, TypeError) as error:  # it lacks something; its split is a list
        raise Damaged("lacks something") from error
    if not all(number(value) for name, value in record.items() if name != "split"):
        raise Damaged("has no number")
    if record["step"] < 0:
        raise Damaged("has a step before the first")
    return record


def liveness(folder: Path, written: Sequence[str]) -> str:
    """Returns whether a run without a result is still running, as far as its files tell.

    By the lock file that a run rewrites every few seconds (run-N.lock) and takes away when it
    ends, or by its process if it is of this machine; where there is no such file, by the age of
    what it has `written`. Ages are by this machine's clock and the file system's.
    """
    locks = [path for path in folder.glob("run-*.lock") if re.fullmatch(r"run-\d+", path.stem)]
    if locks:
        newest = max(locks, key=lambda path: int(path.stem[4:][:9]))
        try:
            text = content(newest, MOST_BYTES) or b""
        except Damaged:
            text = b""
        age_s = _age_s(newest)
        owner = owner_of(text.decode(errors="replace"))
        if owner and owner.gone:
            return f"killed ({_owner(text)}): that process isn't there any more"
        if age_s < ALIVE_S:
            return f"still going ({_owner(text)})"
        return f"killed ({_owner(text)}): no sign of life since {_ago(age_s)}"
    age_s = min((_age_s(folder / name) for name in written), default=float("inf"))
    if age_s < WRITING_S:
        return "no result yet: its last line is younger than 10 minutes, so it may be still going"
    return f"no result: killed or failed, it seems, as nothing was written since {_ago(age_s)}"


def _owner(text: bytes) -> str:
    try:
        owner = parsed(text)
    except Damaged:
        return "its lock can't be read"
    job = f"job {shorten(owner['job'], 20)}, " if owner.get("job") else ""
    return f"{job}host {shorten(owner.get('host'), 40)}, process {shorten(owner.get('pid'), 20)}"


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _ago(age_s: float) -> str:
    if age_s == float("inf"):
        return "it began"
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() - age_s))
