"""Where images come from: the MNIST in this package, a folder of IDX files, or TFDS."""

import dataclasses
import hashlib
from importlib import resources
from pathlib import Path

import numpy as np

from mnist_dist.data import idx, tfds
from mnist_dist.data.split import Split
from mnist_dist.errors import UsageError

EMBEDDED_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the uncompressed files, as LeCun published them."""
PARTS = tuple(EMBEDDED_SHA256)


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set, split.

    Attributes:
        train: what is trained on, without the held-out images.
        validation: the first training images, held out; may be empty.
        test: the test split.
        num_classes: labels are from 0 to this, exclusive.
        source: one line for the log, with the path and the counts.
        fingerprint: hex digest of all pixels, labels and the split.
    """

    train: Split
    validation: Split
    test: Split
    num_classes: int
    source: str
    fingerprint: str


def load(data_dir: str, dataset: str, validation_size: int) -> ImageData:
    """Reads a data set into memory.

    Args:
        data_dir: a folder with the four IDX files, or with prepared TFDS sets.
        dataset: a TFDS name; empty for IDX files, or the embedded MNIST where there are none.
        validation_size: how many of the first training images are held out.

    Raises:
        UsageError: damaged or missing files, labels that don't fit, an unknown data set.
    """
    if dataset:
        train, test, num_classes, origin = tfds.read(dataset, data_dir)
    else:
        train, test, origin = _read_idx(Path(data_dir))
        num_classes = int(train.labels.max(initial=0)) + 1
    _check(train, test, num_classes, origin)
    if not 0 <= validation_size < len(train.labels):
        raise UsageError(
            f"--validation_size={validation_size}: the training set has {len(train.labels)} "
            f"images and some must be left; give 0 to {len(train.labels) - 1}"
        )
    held_out = Split(train.images[:validation_size], train.labels[:validation_size])
    rest = Split(train.images[validation_size:], train.labels[validation_size:])
    counts = f"{len(rest.labels)} train, {len(held_out.labels)} validation, {len(test.labels)} test"
    digest = hashlib.blake2b(digest_size=16)
    for array in (train.images, train.labels, test.images, test.labels):
        digest.update(f"{array.shape} {validation_size}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return ImageData(rest, held_out, test, num_classes, f"{origin}: {counts}", digest.hexdigest())


def embedded_folder() -> Path:
    """Where this package keeps MNIST."""
    return Path(str(resources.files("mnist_dist") / "data" / "mnist"))


def _read_idx(folder: Path) -> tuple[Split, Split, str]:
    found = idx_files(folder)
    missing = not found
    origin = f"IDX files in {folder}"
    if missing:
        folder = embedded_folder()
        found = idx_files(folder)
        origin = f"embedded MNIST ({folder})"
        if not found:
            raise UsageError(f"{folder}: the embedded MNIST is gone; reinstall the package")
    arrays = [idx.read(found[name], 3 if "images" in name else 1) for name in PARTS]
    if missing:
        _verify(dict(zip(PARTS, arrays, strict=True)))
    train_images, train_labels, test_images, test_labels = arrays
    return _split(train_images, train_labels), _split(test_images, test_labels), origin


def idx_files(folder: Path) -> dict[str, Path]:
    """The four IDX files of a folder by name, gzipped or not; none if it has none or isn't there.

    Raises:
        UsageError: some are there and some not, or the folder is a file or can't be read.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: a file; give the folder that holds the four IDX files")
        paths = ((name, folder / f"{name}{end}") for end in (".gz", "") for name in PARTS)
        found = {name: path for name, path in paths if path.is_file()}
    except OSError as error:
        raise UsageError(f"{folder}: can't be read ({error.strerror}); check the path") from error
    missing = [name for name in PARTS if name not in found]
    if found and missing:
        raise UsageError(
            f"{folder}: {', '.join(missing)} missing beside the others; "
            "put all four IDX files there, gzipped or not"
        )
    return found


def _verify(arrays: dict[str, np.ndarray]) -> None:
    """Holds the embedded files against the published checksums."""
    for name, array in arrays.items():
        head = bytes([0, 0, idx.UNSIGNED_BYTES, array.ndim])
        digest = hashlib.sha256(head + np.array(array.shape, ">u4").tobytes())
        digest.update(array.data)
        if digest.hexdigest() != EMBEDDED_SHA256[name]:
            raise UsageError(f"the embedded {name} is not the original (SHA-256); reinstall")


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(images[..., np.newaxis], labels.astype(np.int32))


def _check(train: Split, test: Split, num_classes: int, origin: str) -> None:
    """Raises UsageError where images and labels, or training and test set, don't fit together."""
    for name, split in (("training", train), ("test", test)):
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
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UsageError(
            f"{origin}: training images are {train.images.shape[1:]} and test images "
            f"{test.images.shape[1:]}; the files don't belong together"
        )
