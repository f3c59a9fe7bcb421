"""Images and labels, and what a reader of files returns."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SUBSETS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing", "t10k"), TEST),
}
"""How names of files and folders spell the subsets of a data set."""

SUBSET_NAME = f"(?P<subset>{'|'.join(sorted(SUBSETS, key=len, reverse=True))})"
"""The same as a regular expression; longer spellings come first."""

MOST_BYTES = 4 << 30
"""The most bytes of pixels that are read into memory."""

MOST_CLASSES = 10_000


class Split(NamedTuple):
    """A subset of a data set.

    Attributes:
        images: uint8 [examples, height, width, channels].
        labels: int32 [examples].
    """

    images: np.ndarray
    labels: np.ndarray


class Unlabelled(NamedTuple):
    """Test images without labels.

    Attributes:
        images: uint8 [examples, height, width, channels].
        names: the file of each image; empty where images are rows of an array or a table.
    """

    images: np.ndarray
    names: tuple[str, ...] = ()


class DataSet(NamedTuple):
    """What a reader returns: a data set as its files have it.

    Attributes:
        origin: the format and the path, for messages.
        train: the labelled training images; None where only a test set was asked for.
        validation: the set's own validation images; None if it has none.
        test: the labelled test images; None if there are none.
        unlabelled: test images without labels; None if there are none.
        class_names: a name for each class; empty: classes are called by their number.
        num_classes: classes of the labels; 0: one more than the largest training label.
    """

    origin: str
    train: Split | None = None
    validation: Split | None = None
    test: Split | None = None
    unlabelled: Unlabelled | None = None
    class_names: tuple[str, ...] = ()
    num_classes: int = 0


Files = Mapping[str, tuple[Path, ...]]
"""Role -> files. Roles are "train", "validation" and "test", each alone (one file holds images and
labels) or followed by " images" or " labels"; or "all". Several files are either copies of the same
content under different names, or shards: the format's reader knows."""


class Found(NamedTuple):
    """A data set that a format recognises by the names of its files; nothing was opened.

    Attributes:
        name: for messages, such as "IDX files".
        files: which file has which role.
        read: reads the files, given again because two incomplete finds may be merged.
        expected: role -> the usual name of its file, for a message about a missing one.
    """

    name: str
    files: Files
    read: Callable[[Files], DataSet]
    expected: Mapping[str, str] = {}


def only_path(files: Files, role: str) -> Path | None:
    """The file with that role; None if there is none.

    Raises:
        UsageError: two files have the role.
    """
    from mnist_dist.errors import UsageError

    paths = files.get(role, ())
    if len(paths) > 1:
        raise UsageError(f"{paths[0]} and {paths[1].name} are both the {role}; remove one of them")
    return paths[0] if paths else None


def combine(
    subsets: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    origin: str,
    class_names: tuple[str, ...] = (),
) -> DataSet:
    """A DataSet of arrays: subset -> (images, labels or None for a test set without labels).

    Args:
        subsets: images are uint8 [n, height, width] or [n, height, width, channels]; labels are of
            any integer type, [n] or [n, 1].
        origin: the format and the path.
        class_names: a name for each class, or none.
    """
    splits: dict[str, Split] = {}
    unlabelled = None
    for name, (images, labels) in subsets.items():
        pixels = np.ascontiguousarray(images if images.ndim == 4 else images[..., np.newaxis])
        if labels is None:
            unlabelled = Unlabelled(pixels)
        else:
            splits[name] = Split(pixels, labels.ravel().astype(np.int32))
    return DataSet(
        origin,
        splits.get(TRAIN),
        splits.get(VALIDATION),
        splits.get(TEST),
        unlabelled,
        class_names,
    )
