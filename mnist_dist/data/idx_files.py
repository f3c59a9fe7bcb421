"""The format of MNIST: IDX files, gzipped or not, under the names that its relatives use.

LeCun's names, Kaggle's (`train-images.idx3-ubyte`), EMNIST's (`emnist-letters-test-…`), QMNIST's
(`…-labels-idx2-int`, whose first column is the class) and InfiMNIST's (`mnist8m-patterns-…`).
"""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mnist_dist.data import emnist, idx
from mnist_dist.data.split import SUBSETS, TEST, TRAIN, DataSet, Files, Found, combine
from mnist_dist.errors import UsageError

IDX_FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
"""The four files of MNIST and its like, as LeCun named them."""

PLAIN, INFINITE = "IDX files", "InfiMNIST"  # names of sets

ROLES = ("train images", "train labels", "test images", "test labels")

NAME = re.compile(
    r"(?:(?P<set>emnist-[a-z]+|k?mnist|k49|qmnist)-)?(?P<subset>train|t10k|test)-"
    r"(?:(?P<images>images[-.]idx3-ubyte)|labels[-.](?:idx1-ubyte|idx2-int))(?:\.gz)?"
)
INFIMNIST = re.compile(
    r"(?:mnist(?P<train>\d+[km])|test10k)-(?:(?P<images>patterns(?:-idx3-ubyte)?)|"
    r"labels(?:-idx1-ubyte)?)(?:\.gz)?"
)


def find(folder: Path, entries: Iterable[Path]) -> list[Found]:
    """The sets of IDX files among the `entries` of a folder."""
    sets: dict[str, dict[str, list[Path]]] = {}
    # Whole files come before gzipped ones.
    for path in sorted(entries, key=lambda path: (path.suffix == ".gz", path.name)):
        name, role = _role(path.name)
        if role and path.is_file():
            sets.setdefault(name, {}).setdefault(role, []).append(path)
    expected = dict(zip(ROLES, IDX_FILES, strict=True))
    return [
        Found(
            name or PLAIN,
            {role: tuple(paths) for role, paths in files.items()},
            functools.partial(_read, folder, name),
            expected,
        )
        for name, files in sets.items()
    ]


def _role(name: str) -> tuple[str, str]:
    """The set and the role that a file's name says; empty for another file."""
    if match := NAME.fullmatch(name):
        kind = "images" if match["images"] else "labels"
        return match["set"] or "", f"{SUBSETS[match['subset']]} {kind}"
    if match := INFIMNIST.fullmatch(name):
        kind = "images" if match["images"] else "labels"
        which = f"{INFINITE} {match['train']}" if match["train"] else ""
        return which, f"{TRAIN if match['train'] else TEST} {kind}"
    return "", ""


def _read(folder: Path, name: str, files: Files) -> DataSet:
    which = name.removeprefix("emnist-") if name.startswith("emnist-") else ""
    origin = f"{f'EMNIST {which}' if which else 'IDX'} files in {folder}"
    subsets: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for subset in (TRAIN, TEST):
        if f"{subset} images" not in files:
            continue
        images = _same(files[f"{subset} images"], images=True)
        paths = files.get(f"{subset} labels")
        labels = _same(paths, images=False) if paths else None
        if which:
            images = emnist.upright(images)
            labels = None if labels is None else emnist.from_zero(labels, which, str(folder))
        subsets[subset] = images, labels
    return combine(subsets, origin, emnist.class_names(which))


def _same(paths: tuple[Path, ...], images: bool) -> np.ndarray:
    """The array in a file; of a file and its gzip, which must hold the same."""
    first = _array(paths[0], images)
    for other in paths[1:]:
        if not np.array_equal(first, _array(other, images)):
            raise UsageError(
                f"{paths[0]} and {other.name} beside it differ; remove the one that is wrong"
            )
    return first


def _array(path: Path, images: bool) -> np.ndarray:
    if images:
        return idx.read(path, 3)
    if re.search(r"idx2-int(\.gz)?$", path.name):
        return idx.read(path, 2, idx.INTEGERS)[:, 0]
    return idx.read(path, 1)
