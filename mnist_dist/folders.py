"""Folders that a run writes in."""

import os
from pathlib import Path

from mnist_dist.errors import UsageError


def writable(folder: Path, flag: str) -> None:
    """Makes a folder. Raises UsageError, naming the flag, where that or writing in it fails."""
    probe = folder / f".write-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{flag}={folder}: can't write there ({error.strerror}); "
            "give a folder that this user may write in"
        ) from error


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
