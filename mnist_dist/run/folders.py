"""Folders that a run writes in."""

import contextlib
import os
from pathlib import Path

from mnist_dist.errors import UsageError


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


def aside(folder: Path, paths: list[Path]) -> Path:
    """Moves files or folders of an earlier run to a new folder previous-N; returns it."""
    number = 1
    while (folder / f"previous-{number}").exists():
        number += 1
    place = folder / f"previous-{number}"
    place.mkdir()
    for path in paths:
        path.rename(place / path.name)
    return place
