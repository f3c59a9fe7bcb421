"""Holds training images out for validation: the first ones, or a stratified draw by the seed."""

import numpy as np

from mnist_dist.data.split import Split
from mnist_dist.errors import UsageError

SHUFFLED = "--validation=shuffled"


def held_out(
    train: Split, size: int, seed: int | None, names: list[str], origin: str
) -> tuple[Split, Split]:
    """Splits a training set into what is trained on and what is held out.

    Args:
        train: the training set.
        size: images to hold out.
        seed: draws them, each class in proportion; None for the first images.
        names: of the classes, for messages.
        origin: of the data, for messages.

    Returns:
        The remaining training images and the validation images, each in the order of the training
        set. A split by position returns views of the training set; a shuffled one returns copies.

    Raises:
        UsageError: no training image would be left, or the first images lack a class or contain
            every image of one.
    """
    count = len(train.labels)
    if not 0 <= size < count:
        raise UsageError(
            f"--validation_size={size}: the training set has {count} "
            f"images and some must be left; give 0 to {count - 1}"
        )
    if seed is None or not size:
        first = Split(train.images[:size], train.labels[:size])
        rest = Split(train.images[size:], train.labels[size:])
        _check_classes(rest.labels, first.labels, names, origin)
        return rest, first
    chosen = np.zeros(count, bool)
    chosen[_drawn(train.labels, size, seed)] = True
    return (
        Split(train.images[~chosen], train.labels[~chosen]),
        Split(train.images[chosen], train.labels[chosen]),
    )


def _drawn(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` examples, each class in proportion to its number.

    Shares are rounded by largest remainder; a class keeps an example to train on.
    """
    counts = np.bincount(labels)
    shares = counts * size / len(labels)
    taken = np.floor(shares).astype(int)
    most = np.maximum(counts - 1, 0)
    taken = np.minimum(taken, most)
    order = np.argsort(-(shares - np.floor(shares)), kind="stable")
    while (lacking := size - int(taken.sum())) > 0:
        room = order[taken[order] < most[order]]
        # All but one of each class are taken: a validation set of nearly everything.
        if not room.size:
            room, most = order[taken[order] < counts[order]], counts
        taken[room[:lacking]] += 1
    # Raw words of Philox are stable over NumPy's versions, as in order.py; the key's upper half
    # differs from those of the epochs' permutations by its top bit.
    words = np.random.Philox(key=(1 << 127) + (seed << 64)).random_raw(len(labels))
    ranked = np.argsort(words, kind="stable")
    by_class = ranked[np.argsort(labels[ranked], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.concatenate(
        [by_class[start : start + n] for start, n in zip(starts, taken, strict=True)]
    )


def _check_classes(rest: np.ndarray, held: np.ndarray, names: list[str], origin: str) -> None:
    """Raises UsageError where the first images don't represent the training set."""
    if not held.size:
        return
    inside = np.bincount(held, minlength=len(names))
    outside = np.bincount(rest, minlength=len(names))
    everything = inside + outside
    whole = np.flatnonzero((outside == 0) & (everything > 0))
    # A class that would get less than one image in proportion may be missing.
    expected = everything * held.size / everything.sum()
    absent = np.flatnonzero((inside == 0) & (expected >= 1))
    for places, what in ((whole, "have all images"), (absent, "have no image")):
        if places.size:
            raise UsageError(
                f"{origin}: the first {held.size} training images, which --validation=first holds "
                f"out, {what} of class {names[places[0]]}; give {SHUFFLED}, or another "
                "--validation_size"
            )
