"""Where images come from: the MNIST in this package, files in a folder, or TFDS."""

import dataclasses
import hashlib
from importlib import resources
from pathlib import Path

import numpy as np

from mnist_dist.data import idx, layouts, npz, tfds
from mnist_dist.data.layouts import IDX_FILES, Layout
from mnist_dist.data.split import Split
from mnist_dist.errors import UsageError

EMBEDDED_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the uncompressed files, as LeCun published them."""
PACKED = ("x_train", "y_train", "x_test", "y_test")
MOST_CLASSES = 10_000


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


def load(data_dir: str, dataset: str, validation_size: int, given: bool = True) -> ImageData:
    """Reads a data set into memory.

    Args:
        data_dir: a folder with one of `layouts`' sets, or with prepared TFDS sets. A missing or
            empty one stands for the embedded MNIST, as no name does.
        dataset: a TFDS name; empty for files.
        validation_size: how many of the first training images are held out.
        given: whether somebody chose `data_dir`. What is given is used or refused; the default
            folder may hold other things, and nothing is said of it.

    Raises:
        UsageError: damaged or missing files, labels that don't fit, an unknown data set.
    """
    if dataset:
        train, test, num_classes, origin = tfds.read(dataset, data_dir)
    else:
        train, test, origin = _files(data_dir, given)
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


def _files(data_dir: str, given: bool) -> tuple[Split, Split, str]:
    layout = layouts.find(Path(data_dir), given) if data_dir else None
    if layout is None:
        folder = embedded_folder()
        if not (data_dir and given):
            origin = f"embedded MNIST ({folder})"
        elif Path(data_dir).exists():
            origin = f"embedded MNIST ({folder}), as {data_dir} holds nothing"
        else:
            origin = f"embedded MNIST ({folder}), as {data_dir} isn't there"
        return *_embedded(), origin
    if "npz" in layout.files:
        path = layout.files["npz"]
        return *_packed(path), f"arrays of {path}"
    kind = f"EMNIST {layout.emnist}" if layout.emnist else "IDX"
    return *_idx(layout), f"{kind} files in {layout.folder}"


def _embedded() -> tuple[Split, Split]:
    """The MNIST in this package, held against the published checksums."""
    folder = embedded_folder()
    layout = layouts.find(folder, given=False)
    if layout is None:
        raise UsageError(f"{folder}: the embedded MNIST is gone; reinstall the package")
    arrays = _arrays(layout)
    _verify(dict(zip(IDX_FILES, arrays, strict=True)))
    return _splits(*arrays)


def _arrays(layout: Layout) -> list[np.ndarray]:
    return [idx.read(layout.files[name], 3 if "images" in name else 1) for name in IDX_FILES]


def _idx(layout: Layout) -> tuple[Split, Split]:
    train_images, train_labels, test_images, test_labels = _arrays(layout)
    if layout.emnist:  # its images lie on their side, and A is 1 among the letters
        train_images, test_images = (a.transpose(0, 2, 1) for a in (train_images, test_images))
    if layout.emnist == "letters":
        if not (train_labels.min() and test_labels.min()):
            raise UsageError(
                f"{layout.folder}: EMNIST letters with label 0, they are from 1; "
                "the files don't belong together"
            )
        train_labels, test_labels = train_labels - 1, test_labels - 1
    return _splits(train_images, train_labels, test_images, test_labels)


def _packed(path: Path) -> tuple[Split, Split]:
    """Of an .npz as Keras's mnist.npz is one."""
    arrays = npz.read(path, PACKED, idx.MOST_BYTES)
    for name, array in arrays.items():
        if name.startswith("x"):
            if array.dtype != np.uint8 or array.ndim not in (3, 4):
                raise UsageError(
                    f"{path}: {name} is {array.dtype} of {array.ndim} dimensions; give uint8 "
                    "[examples, height, width], or with [channels]"
                )
        elif array.dtype.kind not in "iu" or array.shape not in ((array.size,), (array.size, 1)):
            raise UsageError(
                f"{path}: {name} is {array.dtype} of {array.ndim} dimensions; give whole numbers, "
                "one for each image"
            )
        elif array.max(initial=0) >= MOST_CLASSES or array.min(initial=0) < 0:
            raise UsageError(f"{path}: {name} has labels that aren't 0 to {MOST_CLASSES - 1}")
    train_images, train_labels, test_images, test_labels = arrays.values()
    return _splits(train_images, train_labels.ravel(), test_images, test_labels.ravel())


def _verify(arrays: dict[str, np.ndarray]) -> None:
    """Holds the embedded files against the published checksums."""
    for name, array in arrays.items():
        head = bytes([0, 0, idx.UNSIGNED_BYTES, array.ndim])
        digest = hashlib.sha256(head + np.array(array.shape, ">u4").tobytes())
        digest.update(array.data)
        if digest.hexdigest() != EMBEDDED_SHA256[name]:
            raise UsageError(f"the embedded {name} is not the original (SHA-256); reinstall")


def _splits(*arrays: np.ndarray) -> tuple[Split, Split]:
    """Training and test split of their images and labels, in the order of `IDX_FILES`."""
    images = [a if a.ndim == 4 else a[..., np.newaxis] for a in arrays[::2]]
    train, test = zip(map(np.ascontiguousarray, images), arrays[1::2], strict=True)
    return Split(train[0], train[1].astype(np.int32)), Split(test[0], test[1].astype(np.int32))


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
