"""Reads a data set: the MNIST in this package, files in a folder, or a tensorflow-datasets name."""

import dataclasses
import hashlib
from importlib import resources
from pathlib import Path

import numpy as np

from mnist_dist.data import class_names as names_file
from mnist_dist.data import find, idx, tfds
from mnist_dist.data.idx_files import IDX_FILES
from mnist_dist.data.split import DataSet, Split, Unlabelled
from mnist_dist.data.validation import held_out
from mnist_dist.errors import UsageError, shorten

EMBEDDED_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the uncompressed files, as LeCun published them."""

LISTED = 5


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set, split.

    Attributes:
        train: the images that are trained on, without those held out.
        validation: the set's own validation images, or training images held out; may be empty.
        test: the labelled test images; may be empty.
        num_classes: labels are 0 to num_classes - 1.
        source: one line for the log: the path, the counts, the shape and the classes.
        fingerprint: hex digest of all pixels, labels and the split.
        unlabelled: test images without labels; may be empty.
        class_names: a name for each class; empty: classes are called by their number.
    """

    train: Split
    validation: Split
    test: Split
    num_classes: int
    source: str
    fingerprint: str
    unlabelled: Unlabelled
    class_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What each class is called: its name, or its number."""
        return self.class_names or tuple(map(str, range(self.num_classes)))


def load(  # noqa: PLR0913
    data_dir: str,
    dataset: str,
    validation_size: int,
    given: bool = True,
    validation_seed: int | None = None,
    class_names: str = "",
) -> ImageData:
    """Reads a data set and splits it.

    Args:
        data_dir: a folder with a set in one of `find.FORMATS`, or with prepared TFDS sets; empty
            for the embedded MNIST.
        dataset: a TFDS name; empty for files.
        validation_size: training images that are held out, unless the set has its own validation
            images.
        given: whether the user named `data_dir`. A folder that was named is used or refused; the
            default one may be missing or hold other things, and then the embedded MNIST is used.
        validation_seed: draws the held-out images; None for the first ones.
        class_names: a file with the names of the classes; empty for those of the set, if any.

    Raises:
        UsageError: files are missing or damaged or don't fit together, or the set is unknown.
    """
    found = tfds.read(dataset, data_dir) if dataset else _files(data_dir, given)
    if found.train is None:  # a complete set has one
        raise UsageError(f"{found.origin}: it has no training images; give a set that has")
    train, num_classes = found.train, found.num_classes or _classes_of(found.train)
    empty = Split(train.images[:0], train.labels[:0])
    test, unlabelled = found.test or empty, found.unlabelled or Unlabelled(empty.images)
    _check(found, num_classes)
    names = found.class_names if len(found.class_names) == num_classes else ()
    if class_names:
        names = names_file.read(Path(class_names), num_classes)
    shown = list(names) or [str(number) for number in range(num_classes)]
    if found.validation is None:
        own: tuple[np.ndarray, ...] = ()
        rest, validation = held_out(train, validation_size, validation_seed, shown, found.origin)
    else:
        own, rest, validation = found.validation, train, found.validation
    digest = hashlib.blake2b(digest_size=16)
    drawn = "" if own or validation_seed is None else f" {validation_seed}"
    more = [unlabelled.images] if len(unlabelled.images) else []
    for array in (train.images, train.labels, test.images, test.labels, *own, *more):
        digest.update(f"{array.shape} {validation_size}{drawn}".encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).data)
    return ImageData(
        rest,
        validation,
        test,
        num_classes,
        f"{found.origin}: {_counts(rest, validation, test, unlabelled)}, "
        f"{_by(train.images.shape[1:])}, {_classes(train.labels, shown)}",
        digest.hexdigest(),
        unlabelled,
        names,
    )


def load_unlabelled(data_dir: str) -> tuple[Unlabelled, str]:
    """Reads the test images of a folder to predict their classes; labels are optional.

    Returns:
        The images of the unlabelled test set, or of the labelled one if there is no other; and the
        origin of the data, for messages.

    Raises:
        UsageError: the folder has no set, or a set without test images.
    """
    layout = find.find(Path(data_dir), given=True)
    if layout is None:
        raise UsageError(f"{data_dir}: no data set there; give a folder with one")
    files = {role: paths for role, paths in layout.files.items() if role.startswith("test")}
    found = layout.read(files if files else layout.files)
    if found.unlabelled is not None:
        return found.unlabelled, found.origin
    if found.test is not None:
        return Unlabelled(found.test.images), found.origin
    raise UsageError(f"{found.origin}: it has no test images; give a set that has")


def embedded_folder() -> Path:
    """The folder in which this package keeps MNIST."""
    return Path(str(resources.files("mnist_dist") / "data" / "mnist"))


def _files(data_dir: str, given: bool) -> DataSet:
    layout = find.find(Path(data_dir), given) if data_dir else None
    if layout is None:
        return _embedded()
    find.check_complete(Path(data_dir), layout)
    return layout.read(layout.files)


def _embedded() -> DataSet:
    """The MNIST in this package, checked against the published checksums."""
    folder = embedded_folder()
    layout = find.find(folder, given=False)
    if layout is None:
        raise UsageError(f"{folder}: the embedded MNIST is gone; reinstall the package")
    find.check_complete(folder, layout)
    found = layout.read(layout.files)._replace(origin=f"embedded MNIST ({folder})")
    if found.train is None or found.test is None:
        raise UsageError(f"{folder}: the embedded MNIST is incomplete; reinstall the package")
    arrays = [a for s in (found.train, found.test) for a in (s.images[..., 0], s.labels)]
    for name, array in zip(IDX_FILES, arrays, strict=True):
        _verify(name, array.astype(np.uint8, copy=False))
    return found


def _verify(name: str, array: np.ndarray) -> None:
    """Raises UsageError where an embedded file isn't the original."""
    head = bytes([0, 0, idx.UNSIGNED_BYTES, array.ndim])
    digest = hashlib.sha256(head + np.array(array.shape, ">u4").tobytes())
    digest.update(array.data)
    if digest.hexdigest() != EMBEDDED_SHA256[name]:
        raise UsageError(f"the embedded {name} is not the original (SHA-256); reinstall")


def _classes_of(train: Split) -> int:
    return int(train.labels.max(initial=0)) + 1


def _check(found: DataSet, num_classes: int) -> None:
    """Raises UsageError where images and labels, or the subsets, don't fit together."""
    origin = found.origin
    splits = {"training": found.train, "validation": found.validation, "test": found.test}
    shapes = {}
    for name, split in splits.items():
        if split is None:
            continue
        if len(split.images) != len(split.labels):
            raise UsageError(
                f"{origin}: {len(split.images)} {name} images and {len(split.labels)} labels; "
                "the files don't belong together"
            )
        if not split.labels.size or not split.images.size:
            raise UsageError(f"{origin}: the {name} set is empty; give one with images")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= num_classes:
            raise UsageError(
                f"{origin}: {name} label {low if low < 0 else high} is outside the "
                f"{num_classes} classes, 0 to {num_classes - 1}; the files don't belong together"
            )
        shapes[name] = split.images.shape[1:]
    if found.unlabelled is not None:
        shapes["test"] = found.unlabelled.images.shape[1:]
    for name, shape in shapes.items():
        if shape != shapes["training"]:
            raise UsageError(
                f"{origin}: training images are {shapes['training']} and {name} images {shape}; "
                "the files don't belong together"
            )
    if found.train is not None and (found.train.labels == found.train.labels[0]).all():
        raise UsageError(
            f"{origin}: all training images are of class {found.train.labels[0]}; give a set with "
            "two classes or more"
        )


def _counts(train: Split, validation: Split, test: Split, unlabelled: Unlabelled) -> str:
    counts = [f"{len(train.labels)} train", f"{len(validation.labels)} validation"]
    if len(test.labels) or not len(unlabelled.images):
        counts.append(f"{len(test.labels)} test" if len(test.labels) else "no test set")
    if len(unlabelled.images):
        counts.append(f"{len(unlabelled.images)} test images without labels")
    return ", ".join(counts)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _classes(labels: np.ndarray, shown: list[str]) -> str:
    """As "10 classes (0 to 9)", with the classes that no training image has."""
    empty = np.flatnonzero(np.bincount(labels, minlength=len(shown)) == 0)
    missing = ""
    if empty.size:
        some = ", ".join(shown[number] for number in empty[:LISTED])
        missing = f"; no training image of {some}{', ...' if empty[LISTED:].size else ''}"
    return f"{len(shown)} classes ({shorten(shown[0])} to {shorten(shown[-1])}{missing})"
