"""EMNIST's peculiarities: transposed images, letters that count from 1, names of classes.

Cohen, Afshar, Tapson and van Schaik 2017, "EMNIST: an extension of MNIST to handwritten letters".
"""

import string

import numpy as np

from mnist_dist.errors import UsageError

_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
CLASS_NAMES = {
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": string.ascii_uppercase,
}
"""The characters of the sets' classes, as in EMNIST's own mapping files."""


def class_names(which: str) -> tuple[str, ...]:
    """The classes of EMNIST's set `which`; none for its digits."""
    return tuple(CLASS_NAMES.get(which, ""))


def upright(images: np.ndarray) -> np.ndarray:
    """Images [examples, height, width] with height and width exchanged."""
    return images.transpose(0, 2, 1)


def from_zero(labels: np.ndarray, which: str, origin: str) -> np.ndarray:
    """Labels from 0; those of the letters are stored from 1.

    Raises:
        UsageError: a letter has label 0.
    """
    if which != "letters":
        return labels
    if not labels.min(initial=1):
        raise UsageError(
            f"{origin}: EMNIST letters with label 0, but their labels start at 1; "
            "the files don't belong together"
        )
    return labels - 1
