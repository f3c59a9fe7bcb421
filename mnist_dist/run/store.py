"""Checkpoints as files: what makes one whole, how it becomes visible, which is the newest.

A checkpoint is a folder ckpt-STEP. It is written beside its place under a hidden name, brought to
the disk, and made visible by one rename. Its state.json ends with a digest of all that stands
above it, the checksums of the other files among it: one digest covers each bit of each file.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.errors import UsageError
from mnist_dist.run.digest import sealed, unsealed

FORMAT = 2
STATE_FILE = "state.json"
MOST_STATE_BYTES = 1 << 24
MOST_OLD_BYTES = 1 << 18  # of a state of format 1
OLDER = ".old"


class Saved(NamedTuple):
    """A whole checkpoint.

    Attributes:
        path: its folder.
        step: global steps that had been done.
        state: what `publish` was given.
    """

    path: Path
    step: int
    state: dict[str, Any]


def publish(
    folder: Path, step: int, state: dict[str, Any], write_weights: Callable[[Path], None]
) -> None:
    """Makes a checkpoint, the folder too; at each moment all that was visible is, or what is new.

    Args:
        folder: --checkpoint_dir.
        step: global steps done.
        state: what else is to be remembered (JSON).
        write_weights: writes the other files into a folder that it is given.

    Raises:
        OSError: the disk is full or gone; what was visible is still there.
    """
    target, hidden = folder / f"ckpt-{step}", folder / f".ckpt-{step}-{os.getpid()}"
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        write_weights(hidden)
        sums = {path.name: _checksum(path) for path in sorted(hidden.iterdir())}
        record = {"format": FORMAT, "step": step, "sha256": sums, "state": state}
        (hidden / STATE_FILE).write_bytes(sealed(record))
        for path in [*hidden.iterdir(), hidden]:
            to_disk(path)
        if target.exists():  # of a resume that ended where it began; visible all the while
            older = target.with_name(target.name + OLDER)
            if older.exists():
                _hide(older)
            target.rename(older)
        hidden.rename(target)
        to_disk(folder)
    except Exception:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints and those that a kept one names as its best."""
    paths = visible(folder)
    kept = set(sorted({step_of(path) for path in paths})[-keep:])
    best = {_best_step(path) for path in paths if step_of(path) in kept}
    for path in paths:
        replaced = path.suffix == OLDER and path.with_suffix("") in paths
        if replaced or step_of(path) not in kept | best:
            _hide(path)
    clear(folder, f"*{OLDER}-*")


def clear(folder: Path, which: str = "*") -> None:
    """Deletes what was being written, or deleted, when a run was killed."""
    for litter in folder.glob(f".ckpt-{which}"):
        shutil.rmtree(litter, ignore_errors=True)


def visible(folder: Path) -> list[Path]:
    """All checkpoints, whole or not, the newest last; of one step, the later saved one last.

    Raises:
        UsageError: this user may not look.
    """
    try:  # not by glob, which fails where the folder goes while it looks
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise _forbidden(error) from error
    form = re.compile(rf"ckpt-(0|[1-9]\d{{0,17}})({re.escape(OLDER)})?", re.ASCII)
    found = [folder / name for name in names if form.fullmatch(name)]
    return sorted(found, key=lambda path: (step_of(path), path.suffix != OLDER))


def newest(
    folder: Path, step: int | None = None, look: Callable[[Saved], Any] = lambda _: None
) -> tuple[Saved | None, dict[Path, str]]:
    """The newest whole checkpoint, and each newer one that isn't whole with the reason.

    Args:
        folder: --checkpoint_dir.
        step: of this global step alone; None for any.
        look: raises ValueError where a state isn't one of this program.

    Raises:
        UsageError: one is of another format, or this user may not read it.
    """
    damaged: dict[Path, str] = {}
    for path in reversed(visible(folder)):
        if step not in (None, step_of(path)):
            continue
        try:
            saved = read(path)
            look(saved)
            return saved, damaged
        except ValueError as error:
            damaged[path] = str(error)
    return None, damaged


def step_of(path: Path) -> int:
    """The global step in a visible checkpoint's name."""
    return int(path.name.removesuffix(OLDER).removeprefix("ckpt-"))


def read(path: Path) -> Saved:
    """A checkpoint's step and state, once all its files are found to be as they were written.

    Raises:
        ValueError: it isn't whole.
        UsageError: it is of another format, or this user may not read it.
    """
    try:
        data = _state(path)
        record = unsealed(data)
        if record is None:
            _refuse_unsealed(path, data)
            raise ValueError(f"its file {STATE_FILE} is damaged (wrong checksum)")
        if record.get("format") != FORMAT:
            raise _other_format(path, record.get("format"))
        step, state = record["step"], record["state"]
        torn = [n for n, digest in record["sha256"].items() if _checksum(path / n) != digest]
    except PermissionError as error:
        raise _forbidden(error) from error
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not whole ({' '.join(str(error).split())})") from error
    if torn:
        raise ValueError(f"its file {torn[0]} is damaged (wrong checksum)")
    if step_of(path) != step:
        raise ValueError(f"it says that it is of step {step}")
    return Saved(path, step, state)


def to_disk(path: Path) -> None:
    """Returns when a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _state(path: Path) -> bytes:
    try:
        return bounded.read_bytes(path / STATE_FILE, MOST_STATE_BYTES)
    except ValueError as error:
        raise ValueError(f"it is not whole ({STATE_FILE} {error})") from error


def _refuse_unsealed(path: Path, data: bytes) -> None:
    """Raises UsageError where a state is of format 1, which had no digest, and not damaged."""
    try:
        record = bounded.loads(data[:MOST_OLD_BYTES].decode())
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
        f"{error.filename}: this user may not read it ({error.strerror}); see to it, or give "
        "another --checkpoint_dir"
    )


def _open(path: Path) -> BufferedReader:
    if path.exists() and not path.is_file():  # a FIFO would be waited for
        raise OSError(f"{path.name} isn't a file")
    return path.open("rb")


def _checksum(path: Path) -> str:
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _best_step(path: Path) -> int | None:
    """The step that a checkpoint names as its best; None too where it was damaged meanwhile."""
    try:
        best: int | None = (unsealed(_state(path)) or {"state": {}})["state"].get("best_step")
    except (OSError, ValueError):
        return None
    return best


def _hide(path: Path) -> None:
    """Takes a checkpoint out of sight at once, so that none is ever seen half-deleted."""
    name = f".{path.name.removesuffix(OLDER)}{OLDER}-{secrets.token_hex(4)}"
    path.rename(path.with_name(name))
