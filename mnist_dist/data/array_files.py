"""NumPy's arrays: one .npz with all of a set, or a file for each array.

One archive, as Keras's `mnist.npz` (x_train, y_train, …) or MedMNIST's (train_images, train_labels,
val_images, …); or four files, as Kuzushiji's `k49-train-imgs.npz` (whose only array is called
arr_0) and so on, or `x_train.npy` and so on. Large .npy files are mapped.
"""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mnist_dist.data import idx, npz
from mnist_dist.data.split import (
    MOST_BYTES,
    MOST_CLASSES,
    SUBSET_NAME,
    SUBSETS,
    TEST,
    TRAIN,
    VALIDATION,
    DataSet,
    Files,
    Found,
    combine,
    only_path,
)
from mnist_dist.errors import UsageError, shorten

_KIND = "(?:(?P<images>images?|imgs?|x)|labels?|targets?|y)"
NAMES = (
    re.compile(f"(?:(?P<set>.*)[-_])?{SUBSET_NAME}[-_]{_KIND}"),
    re.compile(f"(?:(?P<set>.*)[-_])?{_KIND}[-_]{SUBSET_NAME}"),
)
"""train_images, kmnist-train-imgs, x_train, y_test, …"""

ALL = "all"
ALONE = "arr_0"
"""What np.savez calls an array that has no name."""


def find(folder: Path, entries: Iterable[Path]) -> list[Found]:
    """The sets among the `entries` of a folder."""
    found, sets = [], dict[str, dict[str, list[Path]]]()
    for path in entries:
        if path.suffix not in (".npz", ".npy") or not path.is_file():
            continue
        name, role = _role(path.stem)
        if role:
            sets.setdefault(name, {}).setdefault(role, []).append(path)
        elif path.suffix == ".npz":
            found.append(Found(path.name, {ALL: (path,)}, _read_archive))
    for name, files in sets.items():
        roles = {role: tuple(paths) for role, paths in files.items()}
        found.append(Found(name or "arrays", roles, functools.partial(_read_files, folder)))
    return found


def _role(name: str) -> tuple[str, str]:
    """The set and the role that an array's name says; empty for another name."""
    for pattern in NAMES:
        if match := pattern.fullmatch(name.lower()):
            kind = "images" if match["images"] else "labels"
            return match["set"] or "", f"{SUBSETS[match['subset']]} {kind}"
    return "", ""


def _read_archive(files: Files) -> DataSet:
    [path] = files[ALL]
    names = npz.names(path)
    by_role: dict[str, str] = {}
    for name in names:
        role = _role(name)[1]
        if role in by_role:
            raise UsageError(
                f"{path}: {by_role[role]} and {shorten(name)} are both the {role}; "
                "give an .npz with one of them"
            )
        if role:
            by_role[role] = name
    for role in ("train images", "train labels"):
        if role not in by_role:
            there = shorten(", ".join(shorten(name, 20) for name in names))
            raise UsageError(
                f"{path}: no {role} in it (it has {there or 'nothing'}); an .npz with x_train, "
                "y_train, x_test and y_test, or train_images and so on, is read"
            )
    arrays = npz.read(path, list(by_role.values()), MOST_BYTES)
    return _combined(
        {role: (f"{path}: {name}", arrays[name]) for role, name in by_role.items()},
        f"arrays of {path}",
    )


def _read_files(folder: Path, files: Files) -> DataSet:
    arrays = {}
    for role in files:
        path = only_path(files, role)
        if path is None:
            continue
        if path.suffix == ".npy":
            array = npz.read_npy(path, MOST_BYTES, idx.MAPPED_BYTES)
        else:
            names = npz.names(path)
            if len(names) != 1:
                raise UsageError(f"{path}: {len(names)} arrays; give one, such as {ALONE}")
            [array] = npz.read(path, names, MOST_BYTES).values()
        arrays[role] = str(path), array
    return _combined(arrays, f"arrays in {folder}")


def _combined(arrays: dict[str, tuple[str, np.ndarray]], origin: str) -> DataSet:
    """A DataSet of role -> (name for messages, array)."""
    subsets: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for subset in (TRAIN, VALIDATION, TEST):
        if f"{subset} images" in arrays:
            labels = arrays.get(f"{subset} labels")
            subsets[subset] = (
                _images(*arrays[f"{subset} images"]),
                None if labels is None else _labels(*labels),
            )
        elif f"{subset} labels" in arrays:
            name = arrays[f"{subset} labels"][0]
            raise UsageError(f"{name} has no {subset} images beside it; give both or neither")
    return combine(subsets, origin)


def _images(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise UsageError(
            f"{name} is {array.dtype} of {array.ndim} dimensions; give uint8 "
            "[examples, height, width], or with [channels]"
        )
    if array.ndim == 4 and not 1 <= array.shape[3] <= 4:
        first = "; its channels seem to come first" if array.shape[1] in (1, 3) else ""
        raise UsageError(
            f"{name} has shape {array.shape}, which would be images of {array.shape[3]} channels"
            f"{first}; give [examples, height, width, channels] with 1 to 4 channels"
        )
    return array


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.shape not in ((array.size,), (array.size, 1)):
        raise UsageError(
            f"{name} is {array.dtype} of {array.ndim} dimensions; give whole numbers, "
            "one for each image"
        )
    wrong = np.flatnonzero((array < 0) | (array >= MOST_CLASSES))
    if wrong.size:
        raise UsageError(
            f"{name} has labels that aren't 0 to {MOST_CLASSES - 1}: the one of image "
            f"{wrong[0]} is {array.ravel()[wrong[0]]}"
        )
    return array
