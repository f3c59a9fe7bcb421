"""Which files `evaluate --images` reads: those that are named, and the pictures in folders."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mnist_dist.errors import UsageError, shorten

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
OTHER_KINDS = (
    *(".heic", ".heif", ".avif", ".jxl", ".pdf", ".svg", ".psd", ".eps", ".ai", ".xcf"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Pictures that people have and that aren't read."""

MOST_FILES = 100_000
"""The most files of a folder that are looked at."""


class Pictures(NamedTuple):
    """Files to classify.

    Attributes:
        paths: the pictures, in the order given; those of a folder by name.
        others: path -> why it isn't read, for all else in folders but hidden files.
    """

    paths: list[Path]
    others: dict[str, str]


def find(paths: Iterable[str]) -> Pictures:
    """The pictures among paths: files as they are, and those in folders, sorted by name.

    Raises:
        UsageError: no picture at all, or too many.
    """
    found: list[Path] = []
    others: dict[str, str] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        before = len(found)
        passed_over: dict[str, str] = {}
        for entry in _entries(path):
            if entry.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(entry)
            else:
                passed_over[str(entry)] = _why_not(entry)
        if len(found) == before:
            some = f" ({shorten(next(iter(passed_over.values())))})" if passed_over else ""
            passed_over = {str(path): f"no picture in it{some}"}
        others |= passed_over
    if not found:
        folder, why = next(iter(others.items()))
        raise UsageError(f"{folder}: {why}; give {', '.join(SUFFIXES[:3])} or others")
    return Pictures(found, others)


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder that aren't hidden, by name."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MOST_FILES + 1)]
    except OSError as error:
        raise UsageError(f"{folder}: can't be read ({error.strerror}); check it") from error
    if len(names) > MOST_FILES:
        raise UsageError(f"{folder}: more than {MOST_FILES:,} files; give fewer at a time")
    return sorted(
        folder / name
        for name in names
        if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini")
    )


def _why_not(entry: Path) -> str:
    if entry.is_dir():
        return "a folder in a folder isn't looked into; give it by its name"
    if not entry.is_file():
        return "isn't a regular file"
    kind = entry.suffix.lower()
    if kind in OTHER_KINDS:
        return f"{kind} isn't read; convert it to .png or .jpg"
    return "no picture by its name"
