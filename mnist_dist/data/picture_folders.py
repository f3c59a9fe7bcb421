"""Folders of pictures by class: `train/0/a.png`, `test/0/b.png`; or `0/a.png` without a test set.

A test folder with pictures and no folders is a test set without labels.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from mnist_dist.data import decode
from mnist_dist.data.split import SUBSETS, TEST, TRAIN, DataSet, Files, Found, Split, Unlabelled
from mnist_dist.errors import UsageError, shorten

MOST_FILES = 5_000_000
LOOKED_AT = 20
"""Entries of a folder that are looked at to see whether it holds pictures."""

IGNORED = ("thumbs.db", "desktop.ini")


def find(folder: Path, entries: Iterable[Path]) -> list[Found]:
    """The set of pictures that the `entries` of a folder make up, if they do."""
    folders = [path for path in entries if path.is_dir()]
    subsets: dict[str, list[Path]] = {}
    for path in folders:
        subset = SUBSETS.get(path.name.lower())
        if subset and (_has_pictures(path) or any(map(_has_pictures, _some_folders(path)))):
            subsets.setdefault(subset, []).append(path)
    if subsets:
        files = {role: tuple(paths) for role, paths in subsets.items()}
        return [Found("folders of pictures", files, functools.partial(_read, folder))]
    if len(folders) > 1 and all(map(_has_pictures, folders)):
        return [Found("folders of pictures", {TRAIN: (folder,)}, functools.partial(_read, folder))]
    return []


def _has_pictures(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(
            os.path.splitext(entry.name)[1].lower() in decode.SUFFIXES
            for entry in islice(entries, LOOKED_AT)
        )


def _some_folders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in islice(entries, LOOKED_AT) if entry.is_dir())


def _read(folder: Path, files: Files) -> DataSet:
    by_subset: dict[str, dict[str, list[Path]]] = {}
    for subset, paths in files.items():
        if len(paths) > 1:
            raise UsageError(f"{paths[0]} and {paths[1]} are both the {subset} set; keep one")
        by_subset[subset] = _classes(paths[0])
    names = _in_order(by_subset.get(TRAIN, {}))
    splits: dict[str, Split] = {}
    unlabelled: Unlabelled | None = None
    for subset, classes in by_subset.items():
        if "" in classes:
            if subset != TEST:
                raise UsageError(
                    f"{files[subset][0]}: pictures outside of a class's folder, such as "
                    f"{shorten(classes[''][0].name, 40)}; put each into the folder of its class"
                )
            if len(classes) > 1:
                raise UsageError(
                    f"{files[subset][0]}: pictures beside folders of classes, such as "
                    f"{shorten(classes[''][0].name, 40)}; give one or the other"
                )
            images = _stacked(classes[""])
            unlabelled = Unlabelled(images, tuple(path.name for path in classes[""]))
            continue
        unknown = sorted(set(classes) - set(names)) if names else []
        if unknown:
            raise UsageError(
                f"{files[subset][0]}: class '{shorten(unknown[0], 40)}' isn't among those of "
                "the training set; name the folders alike"
            )
        splits[subset] = _split(classes, names or _in_order(classes))
    numbered = names == tuple(map(str, range(len(names))))
    return DataSet(
        f"folders of pictures in {folder}",
        splits.get(TRAIN),
        splits.get("validation"),
        splits.get(TEST),
        unlabelled,
        () if numbered else names,
        len(names),
    )


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Class -> its pictures in natural order; those outside of any class have the class ""."""
    found: dict[str, list[Path]] = {}
    count = 0
    pending = [("", folder)]
    while pending:
        name, place = pending.pop()
        paths = []
        for entry in _entries(place):
            if entry.is_dir() and name == "":
                if not entry.name.isprintable():
                    raise UsageError(
                        f"{shorten(entry.path)}: a class's folder whose name isn't printable "
                        "UTF-8; rename it"
                    )
                pending.append((entry.name, Path(entry.path)))
                continue
            if os.path.splitext(entry.name)[1].lower() not in decode.SUFFIXES:
                what = "a folder in a class's folder" if entry.is_dir() else "not a picture"
                raise UsageError(
                    f"{shorten(entry.path)}: {what}; give {', '.join(decode.SUFFIXES[:3])} or "
                    "others, and nothing else"
                )
            paths.append(Path(entry.path))
            count += 1
            if count > MOST_FILES:
                raise UsageError(f"{folder}: more than {MOST_FILES} pictures; give fewer")
        if paths:
            found[name] = sorted(paths, key=lambda path: _natural(path.name))
        elif name:
            raise UsageError(f"{place}: no picture in it; remove the folder, or fill it")
    return found


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (entry.name.startswith(".") or entry.name.lower() in IGNORED):
                    yield entry
    except OSError as error:
        raise UsageError(f"{folder}: can't be read ({error.strerror}); check it") from error


def _in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Names of classes: numbers by value, others by their characters."""
    names = sorted(classes)
    if all(name.isascii() and name.isdigit() and len(name) < 19 for name in names):
        names.sort(key=int)
    return tuple(names)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts 2.png before 10.png."""
    return [
        (0, int(piece), piece) if piece.isascii() and piece.isdigit() else (1, 0, piece)
        for piece in re.split(r"([0-9]{1,18})", name)
        if piece
    ]


def _split(classes: dict[str, list[Path]], names: tuple[str, ...]) -> Split:
    present = [name for name in names if name in classes]
    paths = [path for name in present for path in classes[name]]
    counts = [len(classes[name]) for name in present]
    labels = np.repeat([names.index(name) for name in present], counts)
    return Split(_stacked(paths), labels.astype(np.int32))


def _stacked(paths: Sequence[Path]) -> np.ndarray:
    return decode.stack(((shorten(path, 200), path) for path in paths), len(paths))
