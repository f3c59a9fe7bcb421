"""Which data set a folder holds, by the names of its files; no file is opened."""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from mnist_dist.data import array_files, csv_files, idx_files, parquet_files, picture_folders
from mnist_dist.data.split import Found
from mnist_dist.errors import UsageError, shorten

FORMATS = (idx_files, array_files, csv_files, picture_folders, parquet_files)
"""The readers. A new format is a module with `find(folder, entries)`, and its name here."""

READ = (
    f"IDX files ({idx_files.IDX_FILES[0]} and so on), an .npz (x_train, y_train, …), train.csv, "
    "folders of pictures by class (train/0/…), or train-….parquet; docs/data.md has the list"
)
"""The formats that are read, for error messages."""

EMBEDDED = "to use the embedded MNIST leave --data_dir out; nothing is downloaded into the folder"
LISTED = 5
MOST_FOLDERS = 100
"""The largest number of subfolders that are searched."""

MOST_ENTRIES = 50_000
"""A folder with more entries isn't searched: no format keeps so many side by side, except the
pictures of a class, which are a level below."""


def find(folder: Path, given: bool) -> Found | None:
    """Looks for a data set in a folder.

    Args:
        folder: where to look; or an .npz file.
        given: whether the user named the folder. If so, the folder itself or exactly one of its
            subfolders must hold one data set. The default folder may hold anything or be missing.

    Returns:
        The set; None where the default folder holds none.

    Raises:
        UsageError: the folder was given and is missing, empty or holds something else; or it
            holds an incomplete set or more than one, or can't be read.
    """
    try:
        if not _exists(folder):
            if given:
                raise UsageError(f"{folder}: no such folder; check the path, or {EMBEDDED}")
            return None
        entries = _visible(folder)
        if given and not entries:
            raise UsageError(f"{folder}: the folder is empty; put a data set there, or {EMBEDDED}")
        found = _sets(folder, entries)
        if given and not found and len(entries) <= MOST_ENTRIES:
            below = [entry for entry in entries if entry.is_dir()][:MOST_FOLDERS]
            found = _merged([one for path in below for one in _sets(path, _visible(path))])
    except OSError as error:
        raise UsageError(f"{folder}: can't be read ({error.strerror}); check the path") from error
    except ValueError as error:  # a zero byte in the name
        raise UsageError(f"{folder}: can't be a path ({error}); check it") from error
    if not found:
        if not given:
            return None
        tfds = any(entry.is_dir() for entry in entries)
        hint = "; with --dataset=NAME, a prepared tensorflow-datasets set" if tfds else ""
        raise UsageError(f"{folder}: it has {_listed(entries)}; what is read is {READ}{hint}")
    if len(found) > 1:
        sets = _listed(_name(folder, one) for one in found)
        raise UsageError(
            f"{folder}: more than one set ({sets}); give a folder with one of them, or the .npz"
        )
    return found[0]


def check_complete(folder: Path, found: Found) -> None:
    """Raises UsageError where a set has no training images, or labels without images."""
    roles = set(found.files)
    if not any(role.split()[0] in ("train", "all") for role in roles):
        paths = [path for paths in found.files.values() for path in paths]
        raise UsageError(f"{folder}: a test set without a training set ({_listed(paths)}); add one")
    missing = []
    if not roles & {"train", "all"}:
        missing = [role for role in ("train images", "train labels") if role not in roles]
    missing += [
        f"{subset} images"
        for subset in ("validation", "test")
        if f"{subset} labels" in roles and f"{subset} images" not in roles
    ]
    if missing:
        names = ", ".join(found.expected.get(role, role) for role in missing)
        raise UsageError(
            f"{folder}: {names} missing beside the others; put all files of the set there"
        )


def _exists(folder: Path) -> bool:
    """Whether a path exists; unlike pathlib's method, other errors are raised."""
    try:
        os.stat(folder)
    except FileNotFoundError:
        return False
    return True


def _visible(folder: Path) -> list[Path]:
    """The entries of a folder that aren't hidden; for an .npz file, only that file.

    At most one more than MOST_ENTRIES is read.
    """
    if folder.suffix == ".npz" and folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"{folder}: a file; give the folder that holds the data set, or an .npz")
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, MOST_ENTRIES + 1)]
    return sorted(folder / name for name in names if not name.startswith("."))


def _sets(folder: Path, entries: list[Path]) -> list[Found]:
    """The sets whose files are `entries` of a folder; none if there are too many entries."""
    if len(entries) > MOST_ENTRIES:
        return []
    return _merged([one for form in FORMATS for one in form.find(folder, entries)])


def _merged(found: list[Found]) -> list[Found]:
    """Joins incomplete finds of one format whose roles differ.

    Kaggle unpacks each file into a folder of its own, and a test set may have another prefix than
    the training set (mnist8m, test10k).
    """
    if len(found) < 2 or "all" in {role for one in found for role in one.files}:
        return found
    roles = [role for one in found for role in one.files]
    # MNIST's test set goes with InfiMNIST's training set.
    names = {one.name for one in found}
    alike = len(names) == 1 or (
        len(names) == 2
        and idx_files.PLAIN in names
        and any(name.startswith(idx_files.INFINITE) for name in names)
    )
    if not alike or len(set(roles)) < len(roles):
        return found
    first = max(found, key=lambda one: one.name != idx_files.PLAIN)
    return [
        first._replace(files={role: paths for one in found for role, paths in one.files.items()})
    ]


def _name(folder: Path, found: Found) -> str:
    """A set's name for a list: that of the folder below, or of the files."""
    parents = {path.parent for paths in found.files.values() for path in paths}
    parent = parents.pop()
    if parents or parent == folder or folder not in parent.parents:
        return found.name
    return str(parent.relative_to(folder))


def _listed(entries: Iterable[object]) -> str:
    first = islice(entries, LISTED + 1)
    names = [shorten(entry.name if isinstance(entry, Path) else entry, 40) for entry in first]
    return ", ".join(names[:LISTED]) + (", ..." if names[LISTED:] else "")
