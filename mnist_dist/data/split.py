"""Images and their labels, in memory."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Part of a data set.

    Attributes:
        images: uint8 [examples, height, width, channels].
        labels: int32 [examples].
    """

    images: np.ndarray
    labels: np.ndarray
