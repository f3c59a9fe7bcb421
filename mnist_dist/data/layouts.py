"""Under which names a set's files may lie in a folder, and which of them do.

Kept apart from reading: here are names alone, no file is opened.
"""

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mnist_dist.errors import UsageError, shorten

IDX_FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
"""The four files of MNIST and its like, as LeCun named them."""

READ = (
    f"{IDX_FILES[0]} and so on (also with Kaggle's or EMNIST's names, gzipped or not), or an .npz "
    "with x_train, y_train, x_test, y_test"
)
"""What is read, for a message."""

# Kaggle writes a dot before idx; EMNIST puts its name and the set's first, and calls the test so.
IDX_NAME = re.compile(
    r"(?:emnist-(?P<set>[a-z]+)-)?(?P<part>train|t10k|test)-"
    r"(?:(?P<images>images)[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?"
)
LISTED = 5


class Layout(NamedTuple):
    """A set's files in a folder.

    Attributes:
        folder: where they are: the folder that was given, or one below it.
        emnist: EMNIST's name of the set, such as letters; empty for others.
        files: name -> file, of the four `IDX_FILES`, each or some; or "npz" -> file.
    """

    folder: Path
    emnist: str
    files: dict[str, Path]


def find(folder: Path, given: bool) -> Layout | None:
    """Looks for a set in a folder.

    Args:
        folder: where to look; an .npz file is one, too.
        given: whether somebody chose the folder: then one below it may hold the set. In the
            default one other things may lie.

    Returns:
        What is there; None for a folder that holds nothing or isn't there. Hidden files are
        nothing.

    Raises:
        UsageError: it holds something else, a part of a set, more than one set, or can't be read.
    """
    try:
        entries = _visible(folder) if _is_there(folder) else []
        if entries == [folder]:
            return Layout(folder.parent, "", {"npz": folder})
        found = _sets(folder, entries)
        if given and not found:
            below = [entry for entry in entries if entry.is_dir()]
            found = _together(folder, [one for p in below for one in _sets(p, _visible(p))])
    except OSError as error:
        raise UsageError(f"{folder}: can't be read ({error.strerror}); check the path") from error
    except ValueError as error:  # a zero byte in the name
        raise UsageError(f"{folder}: can't be a path ({error}); check it") from error
    if not entries or not (found or given):
        return None
    if not found:
        tfds = any(entry.is_dir() for entry in entries)
        hint = "; with --dataset=NAME, a prepared tensorflow-datasets set" if tfds else ""
        raise UsageError(f"{folder}: it has {_listed(entries)}; what is read is {READ}{hint}")
    if len(found) > 1:
        sets = _listed(layout.files.get("npz", _name(folder, layout)) for layout in found)
        raise UsageError(
            f"{folder}: more than one set ({sets}); give a folder with one of them, or the .npz"
        )
    return _whole(found[0])


def _is_there(folder: Path) -> bool:
    """Whether a path leads anywhere; unlike pathlib's answer, no other trouble is a no."""
    try:
        os.stat(folder)
    except FileNotFoundError:
        return False
    return True


def _visible(folder: Path) -> list[Path]:
    """What a folder shows; of an .npz, itself."""
    if folder.suffix == ".npz" and folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"{folder}: a file; give the folder that holds the four IDX files")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _sets(folder: Path, entries: Iterable[Path]) -> list[Layout]:
    """The sets whose files are `entries` of a folder."""
    idx: dict[str, dict[str, Path]] = {}
    packed = []
    # Of a file's spellings the first in this order is taken: whole names before gzipped ones.
    for path in sorted(entries, key=lambda path: (path.suffix == ".gz", path.name)):
        match = IDX_NAME.fullmatch(path.name)
        if match and path.is_file():
            train, images = match["part"] == "train", match["images"]
            files = idx.setdefault(match["set"] or "", {})
            files.setdefault(IDX_FILES[(0 if train else 2) + (0 if images else 1)], path)
        elif path.suffix == ".npz" and path.is_file():
            packed.append(path)
    layouts = [Layout(folder, name, files) for name, files in idx.items()]
    return [*layouts, *(Layout(folder, "", {"npz": path}) for path in packed)]


def _together(folder: Path, deeper: list[Layout]) -> list[Layout]:
    """Kaggle unpacks each file into a folder of its own: these four are one set."""
    parts = [layout for layout in deeper if not layout.emnist and len(layout.files) == 1]
    names = [name for layout in parts for name in layout.files]
    if len(parts) < 2 or len(parts) != len(deeper) or len(set(names)) != len(names):
        return deeper
    if "npz" in names:
        return deeper
    return [Layout(folder, "", {n: path for one in parts for n, path in one.files.items()})]


def _whole(layout: Layout) -> Layout:
    missing = [name for name in IDX_FILES if name not in layout.files]
    if missing and "npz" not in layout.files:
        raise UsageError(
            f"{layout.folder}: {', '.join(missing)} missing beside the others; "
            "put all four IDX files there, gzipped or not"
        )
    return layout


def _name(folder: Path, layout: Layout) -> str:
    if layout.emnist:
        return f"emnist-{layout.emnist}"
    return str(layout.folder.relative_to(folder)) if layout.folder != folder else "IDX files"


def _listed(entries: Iterable[object]) -> str:
    first = islice(entries, LISTED + 1)
    names = [shorten(entry.name if isinstance(entry, Path) else entry, 40) for entry in first]
    return ", ".join(names[:LISTED]) + (", ..." if names[LISTED:] else "")
