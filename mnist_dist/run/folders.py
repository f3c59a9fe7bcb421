"""Folders that a run writes in."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mnist_dist.errors import RunError, UsageError

GATHERING = ".previous"


def writable(folder: Path, flag: str) -> None:
    """Tries to make a folder and write in it, and leaves nothing: a run may yet be refused.

    Raises:
        UsageError: it can't be done; names the flag.
    """
    made: list[Path] = []
    probe = folder / f".write-{os.getpid()}"
    try:
        made += [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{flag}={folder}: can't write there ({error.strerror}); "
            "give a folder that this user may write in"
        ) from error
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes one line of a failure to write a file or folder.

    Raises:
        RunError: the disk is full, gone, or not this user's.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise RunError(f"could not write {error.filename or path}: {reason}") from error


def clear(folder: Path, patterns: Iterable[str]) -> None:
    """Deletes the files of some names that a killed run, or a killed `writable`, has left."""
    for pattern in (*patterns, ".write-*"):
        for litter in folder.glob(pattern):
            with contextlib.suppress(OSError):
                litter.unlink()


def aside(folder: Path, paths: list[Path]) -> Path | None:
    """Moves files or folders of an earlier run to a new folder previous-N; returns it, if any.

    They are gathered under a hidden name: what a killed move left there is joined by the rest.

    Raises:
        RunError: it can't be done.
    """
    gathering = folder / GATHERING
    if not paths and not gathering.exists():
        return None
    with writing(gathering):
        if any((gathering / path.name).exists() for path in paths):
            _number(gathering)
        gathering.mkdir(exist_ok=True)
        for path in paths:
            path.rename(gathering / path.name)
        return _number(gathering)


def _number(gathering: Path) -> Path:
    number = 1
    while (place := gathering.with_name(f"previous-{number}")).exists():
        number += 1
    return gathering.rename(place)
