"""Turns pictures of one handwritten digit, of any size and light, into images like MNIST's.

The steps are those of MNIST's makers (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based
learning applied to document recognition"): cut the ink out, scale its longer side to 20 pixels,
put its centre of mass in the middle of 28x28. Before that, paper and lighting are removed.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mnist_dist.errors import UsageError
from mnist_dist.use import brightness, pieces
from mnist_dist.use.brightness import Unreadable

if TYPE_CHECKING:
    from PIL import Image

BLACK = 0.1
"""Share of white that is added to the brightness, to suppress the grain of black paper."""

FAINTEST = 0.2
"""Ink differs from its surroundings by at least this much, in log brightness."""

FITS = 4
"""Iterations of fitting the paper's brightness, each without the last one's outliers."""

SPECK = 0.05
"""Ink of less than this share of the largest stroke's area is dirt."""

BOX, FIELD = 20, 28  # MNIST's: the side that the ink is scaled to, and that of the image


def check_installed() -> None:
    """Raises UsageError where the libraries for pictures are missing."""
    for name, package in (("PIL", "pillow"), ("scipy", "scipy")):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(
                f"pictures are read with {package}, which isn't installed; "
                "pip install 'mnist_dist[predict]'"
            ) from error


def check_channels(image_shape: tuple[int, int, int]) -> None:
    """Raises UsageError where the network's images have several channels."""
    if image_shape[2] != 1:
        raise UsageError(
            f"the run's images have {image_shape[2]} channels, and handwriting is read as one; "
            "pictures are for runs on sets such as MNIST"
        )


def read(picture: "Path | BinaryIO | Image.Image", image_shape: tuple[int, int, int]) -> np.ndarray:
    """Reads a picture of one digit as an image for the network.

    Args:
        picture: a file in any of Pillow's formats, such a file opened for reading bytes, or a
            picture of Pillow's, which isn't changed.
        image_shape: (height, width, 1) of the network's images.

    Returns:
        uint8 [height, width, 1]: 0 is paper, 255 is ink.

    Raises:
        Unreadable: it is no picture, it is empty, or it shows several digits.
    """
    strokes = ink(brightness.grey(picture))
    if pieces.several_digits(strokes):
        raise Unreadable("several digits; give a picture of each")
    return normalised(strokes, *image_shape[:2])[..., np.newaxis]


def ink(grey: np.ndarray) -> np.ndarray:
    """Separates ink from paper and lighting: float64, of the same shape, 0..255.

    Light multiplies reflectance, so all is done on the logarithm of brightness. A top-hat (Meyer
    1979) keeps strokes and removes what is wider than a third of the picture, such as a shadow and
    its edge, but it also keeps dark corners. Subtracting a second-order surface, fitted to the
    paper, removes dark corners but keeps edges. Ink is what both keep.

    Args:
        grey: float64 [height, width], 0 is black and 255 white.

    Raises:
        Unreadable: there is no ink, or a shadow only.
    """
    from scipy import ndimage

    longest = max(grey.shape)
    smooth = np.log(ndimage.gaussian_filter(grey, longest / brightness.LONGEST_PX) / 255.0 + BLACK)
    rest = _without_light(smooth)
    # The fewer pixels are ink, so the skewness of all has its sign: negative is dark on light.
    sign = 1.0 if float((rest**3).sum()) > 0.0 else -1.0
    sides = [min(max(longest // 3, 3), 2 * side - 1) for side in grey.shape]
    both = [ndimage.white_tophat(sign * values, size=sides) for values in (smooth, rest)]
    found = np.minimum(*both)
    if found.max(initial=0.0) < FAINTEST:
        raise Unreadable("nothing found: no ink stands out from the paper")
    return _strokes(sign * np.expm1(sign * found), sign * smooth, found)


def normalised(strokes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales and centres ink as MNIST's makers did: uint8 [height, width].

    Args:
        strokes: float64, 0 is paper, 255 is ink.
        height: of the result, in pixels.
        width: of the result, in pixels.
    """
    from PIL import Image
    from scipy import ndimage

    rows, columns = (np.flatnonzero(strokes.any(axis)) for axis in (1, 0))
    cut = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = round(BOX / FIELD * min(height, width))
    factor = box / max(cut.shape)
    size = [max(round(side * factor), 1) for side in reversed(cut.shape)]
    scaled = np.asarray(
        Image.fromarray(cut.astype(np.float32)).resize(size, Image.Resampling.BILINEAR), float
    )
    scaled *= 255.0 / scaled.max()  # a thin line pales as it shrinks
    field = np.zeros((height, width))
    centre = ndimage.center_of_mass(scaled)
    place = [
        int(np.clip(round(whole / 2 - middle), 0, whole - side))
        for whole, middle, side in zip(field.shape, centre, scaled.shape, strict=True)
    ]
    field[place[0] : place[0] + scaled.shape[0], place[1] : place[1] + scaled.shape[1]] = scaled
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


def _without_light(grey: np.ndarray) -> np.ndarray:
    """Subtracts the paper's brightness, a fitted surface of second order; the same shape."""
    y, x = np.meshgrid(*(np.linspace(-1.0, 1.0, size) for size in grey.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1).reshape(-1, 6)
    values, kept = grey.ravel(), np.ones(grey.size, bool)
    for _ in range(FITS):  # outliers are the ink; without them the surface is the paper
        surface = terms @ np.linalg.lstsq(terms[kept], values[kept], rcond=None)[0]
        rest = values - surface
        rest -= np.median(rest[kept])
        kept = np.abs(rest) <= 1.5 * rest[kept].std() + 1e-9
    flat: np.ndarray = rest.reshape(grey.shape)
    return flat


def _strokes(found: np.ndarray, darkness: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Removes the paper's grain, dirt, edges and shadows, and scales the blackest ink to 255.

    Args:
        found: how much darker each pixel is than the paper.
        darkness: of the picture, on a logarithmic scale.
        contrast: `found` on that scale.

    Raises:
        Unreadable: nothing is left.
    """
    from scipy import ndimage

    threshold = _otsu(found)
    labels, count = ndimage.label(found > threshold, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = areas >= SPECK * areas.max()
    for number in numbers[kept]:
        kept[number - 1] = not pieces.is_shadow(labels == number, darkness, contrast)
    if not kept.any():
        raise Unreadable("nothing found: only a shadow stands out from the paper")
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    inner = kept & ~np.isin(numbers, edges)
    if inner.any():  # else the picture is cropped close, and the digit touches the edge
        kept = inner
    core = np.isin(labels, numbers[kept])
    soft = max(round(max(found.shape) / 200), 1)  # the rim of a stroke is less black
    strokes = ndimage.binary_dilation(core, np.ones((3, 3)), soft)
    black = np.percentile(found[core], 75)
    return np.where(strokes, np.clip(found * (255.0 / black), 0.0, 255.0), 0.0)


def _otsu(values: np.ndarray) -> float:
    """Otsu's threshold (1979), which separates values best into two groups."""
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    gap = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * gap**2)])
