"""The folders that a run writes to."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mnist_dist.errors import RunError, UsageError

GATHERING = ".previous"


def writable(folder: Path, flag: str) -> None:
    """Checks that a folder can be made and written to; leaves no trace on the disk.

    Args:
        folder: needn't exist.
        flag: what the folder is called in messages, such as "--output_dir".

    Raises:
        UsageError: it can't be made or written to.
    """
    made: list[Path] = []
    probe = folder / f".write-{os.getpid()}"
    try:
        made += [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{flag}={folder}: can't write there ({error.strerror}); "
            "give a folder that this user may write to"
        ) from error
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def writable_file(name: str, flag: str, suffix: str = "") -> Path:
    """Checks that a file can be written under a name; leaves no trace on the disk.

    Args:
        name: as the user gave it; the file needn't exist.
        flag: what the file is called in messages, such as "--output".
        suffix: how the name must end, such as ".png"; empty for any end.

    Returns:
        The path.

    Raises:
        UsageError: the name is empty, too long or ends otherwise; it is a folder, a device or a
            FIFO; its folder can't be written to.
    """
    path = Path(name)
    if not name or path.suffix.lower() != (suffix or path.suffix.lower()):
        wanted = f"that ends in {suffix}" if suffix else "of a file"
        raise UsageError(f"{flag}={name}: give a name {wanted}")
    target = Path(os.path.realpath(path))
    try:
        irregular = target.exists() and not target.is_file()
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"{flag}={name}: {error.strerror}; give another name") from error
    if irregular:
        raise UsageError(f"{flag}={name}: isn't a regular file; give another name")
    writable(target.parent, f"the folder of {flag}")
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError of the body into a RunError that names the file.

    Args:
        path: named in the message if the error itself names no file.

    Raises:
        RunError: the disk is full or gone, or the file belongs to another user.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise RunError(f"could not write {error.filename or path}: {reason}") from error


def clear(folder: Path, patterns: Iterable[str]) -> None:
    """Deletes files that a killed run left half-written.

    Args:
        folder: where to look; subfolders aren't searched.
        patterns: glob patterns of their names. The probe of `writable` is always included.
    """
    for pattern in (*patterns, ".write-*"):
        for leftover in folder.glob(pattern):
            with contextlib.suppress(OSError):
                leftover.unlink()


def move_aside(folder: Path, paths: list[Path]) -> Path | None:
    """Moves files or folders of an earlier run to a new folder previous-N.

    They are collected in a hidden folder, which is renamed last. An interrupted move is completed
    by the next call.

    Args:
        folder: holds `paths` and will hold previous-N.
        paths: what to move; may be empty.

    Returns:
        The new folder; None if there was nothing to move.

    Raises:
        RunError: they can't be moved.
    """
    gathering = folder / GATHERING
    if not paths and not gathering.is_dir():
        return None
    if gathering.exists() and not gathering.is_dir():
        raise RunError(
            f"{gathering} is a file, and a folder of this name is needed to move the files of an "
            "earlier run aside; delete or rename it"
        )
    with writing(gathering):
        if any((gathering / path.name).exists() for path in paths):
            _number(gathering)
        gathering.mkdir(exist_ok=True)
        for path in paths:
            path.rename(gathering / path.name)
        return _number(gathering)


def _number(gathering: Path) -> Path:
    number = 1
    while (numbered := gathering.with_name(f"previous-{number}")).exists():
        number += 1
    return gathering.rename(numbered)
