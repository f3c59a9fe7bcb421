"""Finds and reads checkpoints: lists them, and validates every bit of the newest.

`publishing` writes them, and says what a checkpoint consists of.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.errors import UsageError
from mnist_dist.run.digest import verified

FORMAT = 2
STATE_FILE = "state.json"
MOST_STATE_BYTES = 1 << 24
MOST_FORMAT_1_BYTES = 1 << 18
OLDER = ".old"


class Saved(NamedTuple):
    """A checkpoint that was found to be whole.

    Attributes:
        path: its folder.
        step: global steps done.
        state: as given to `publishing.publish`.
    """

    path: Path
    step: int
    state: dict[str, Any]


def visible(folder: Path) -> list[Path]:
    """The paths of all checkpoints, whole or not, by step; two of the same step by time of saving.

    Raises:
        UsageError: this user may not list the folder.
    """
    try:  # glob would fail if the folder were deleted meanwhile
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise _forbidden(error) from error
    form = re.compile(rf"ckpt-(0|[1-9]\d{{0,17}})({re.escape(OLDER)})?", re.ASCII)
    found = [folder / name for name in names if form.fullmatch(name)]
    return sorted(found, key=lambda path: (step_of(path), path.suffix != OLDER))


def newest(
    folder: Path, step: int | None = None, check: Callable[[Saved], Any] = lambda _: None
) -> tuple[Saved | None, dict[Path, str]]:
    """Finds the newest whole checkpoint.

    Args:
        folder: --checkpoint_dir.
        step: only that of this global step; None for any.
        check: raises ValueError if a checkpoint's state isn't one of this program.

    Returns:
        The checkpoint, None if there is none; and path -> reason for each newer one that is
        damaged.

    Raises:
        UsageError: one has another format, or this user may not read it.
    """
    damaged: dict[Path, str] = {}
    for path in reversed(visible(folder)):
        if step not in (None, step_of(path)):
            continue
        try:
            saved = read(path)
            check(saved)
            return saved, damaged
        except ValueError as error:
            damaged[path] = str(error)
    return None, damaged


def step_of(path: Path) -> int:
    """The global step in a visible checkpoint's name."""
    return int(path.name.removesuffix(OLDER).removeprefix("ckpt-"))


def read(path: Path) -> Saved:
    """Reads a checkpoint's step and state, and validates all its files.

    Raises:
        ValueError: it isn't whole.
        UsageError: it has another format, or this user may not read it.
    """
    try:
        data = _state(path)
        record = verified(data)
        if record is None:
            _refuse_format_1(path, data)
            raise ValueError(f"its file {STATE_FILE} is damaged (wrong checksum)")
        if record.get("format") != FORMAT:
            raise _other_format(path, record.get("format"))
        step, state = record["step"], record["state"]
        sizes = record.get("bytes", {})  # not in checkpoints of older versions
        if torn := [n for n, size in sizes.items() if _length(path / n) != size]:
            raise ValueError(f"its file {torn[0]} is damaged (wrong length)")
        damaged = [n for n, digest in record["sha256"].items() if checksum(path / n) != digest]
    except PermissionError as error:
        raise _forbidden(error) from error
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not whole ({' '.join(str(error).split())})") from error
    if damaged:
        raise ValueError(f"its file {damaged[0]} is damaged (wrong checksum)")
    if step_of(path) != step:
        raise ValueError(f"it says that it is of step {step}")
    return Saved(path, step, state)


def _state(path: Path) -> bytes:
    try:
        return bounded.read_bytes(path / STATE_FILE, MOST_STATE_BYTES)
    except ValueError as error:
        raise ValueError(f"it is not whole ({STATE_FILE} {error})") from error


def _refuse_format_1(path: Path, data: bytes) -> None:
    """Raises UsageError if an undamaged state has format 1, which had no digest."""
    try:
        record = bounded.loads(data[:MOST_FORMAT_1_BYTES].decode())
    except ValueError:
        return
    keys = {"format", "step", "sha256", "state"}
    if isinstance(record, dict) and set(record) == keys and record["format"] == 1:
        raise _other_format(path, 1)


def _other_format(path: Path, theirs: Any) -> UsageError:
    return UsageError(
        f"{path} is of format {theirs}, this version reads {FORMAT}; use the version that wrote "
        "it, or another --checkpoint_dir"
    )


def _forbidden(error: PermissionError) -> UsageError:
    return UsageError(
        f"{error.filename}: this user may not read it ({error.strerror}); change its "
        "permissions, or give another --checkpoint_dir"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A file of a checkpoint. Raises OSError, also if it isn't a regular file."""
    try:
        with bounded.open_file(path) as file:
            yield file
    except ValueError as error:
        raise OSError(f"{path.name} {error}") from error


def _length(path: Path) -> int:
    with _opened(path) as file:
        return os.fstat(file.fileno()).st_size


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises OSError, also if it isn't a regular file."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def best_step(path: Path) -> int | None:
    """The step that a checkpoint names as its best; None if it names none or can't be read."""
    try:
        best: int | None = (verified(_state(path)) or {"state": {}})["state"].get("best_step")
    except (OSError, ValueError):
        return None
    return best
