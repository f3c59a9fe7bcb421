"""Judges pieces of ink: whether they are a shadow, and whether they are more than one digit."""

import numpy as np

ONE_DIGIT = 0.6
"""Pieces of at least this share of the tallest one's height are digits of their own. Of 30,000
images of MNIST five have two such pieces; of 1,000 pairs side by side 988 do."""

REACH = 0.04
"""Pieces that are nearer to one another than twice this share of the height are one."""

OUTLINED = 0.84
"""Ink differs from the paper along at least this share of its outline. Digits have 0.85 or more."""

SIDE_PX = 100
"""Pictures whose longer side is less are too coarse to tell a shadow."""


def several_digits(strokes: np.ndarray) -> bool:
    """Whether there are two pieces of ink, each about as tall as a digit, beside or above another.

    Args:
        strokes: float64 [height, width], 0 is paper and 255 ink.
    """
    from scipy import ndimage

    ink = strokes > 64
    rows = np.flatnonzero(ink.any(1))
    reach = max(round(REACH * (rows[-1] - rows[0] + 1)), 1) if rows.size else 1
    labels, _ = ndimage.label(ndimage.binary_dilation(ink, iterations=reach), np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    tallest = max((box[0].stop - box[0].start for box in boxes), default=0)
    tall = [box for box in boxes if box[0].stop - box[0].start >= ONE_DIGIT * tallest]
    return any(
        _apart(box[axis], other[axis])
        for number, box in enumerate(tall)
        for other in tall[:number]
        for axis in (0, 1)
    )


def _apart(one: slice, other: slice) -> bool:
    return bool(min(one.stop, other.stop) <= max(one.start, other.start))


def is_shadow(piece: np.ndarray, darkness: np.ndarray, contrast: np.ndarray) -> bool:
    """Whether a piece is the edge of a shadow: a part of its outline lies on even paper.

    Args:
        piece: bool [height, width].
        darkness: of the picture, on a logarithmic scale.
        contrast: how much darker each pixel is than the paper, on that scale.
    """
    from scipy import ndimage

    longest = max(piece.shape)
    if longest < SIDE_PX:
        return False
    reach = round(longest / 40)
    size = (2 * reach + 1,) * 2
    near = tuple(
        slice(max(int(places[0]) - 2 * reach, 0), int(places[-1]) + 2 * reach + 1)
        for places in (np.flatnonzero(piece.any(axis)) for axis in (1, 0))
    )
    piece, darkness, contrast = piece[near], darkness[near], contrast[near]
    outline = ndimage.binary_dilation(piece, np.ones((3, 3))) & ~piece
    darkest = ndimage.grey_dilation(np.where(piece, darkness, -np.inf), size)
    brightest = ndimage.grey_erosion(np.where(piece, np.inf, darkness), size)
    step = (darkest - brightest)[outline]
    return bool(step.size and (step >= 0.5 * np.median(contrast[piece])).mean() < OUTLINED)
