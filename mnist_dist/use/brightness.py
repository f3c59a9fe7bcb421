"""Reads a picture file as the brightness of its pixels, whatever its format, size and mode."""

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LONGEST_PX = 400
"""Larger pictures are scaled down to this side."""

MOST_PIXELS = 1 << 22
"""Pictures of more are averaged over squares of pixels before anything else."""


class Unreadable(ValueError):
    """A picture that can't be read or is empty; the text says why."""


def grey(source: "Path | BinaryIO | Image.Image") -> np.ndarray:
    """Returns a picture's brightness: float64 [height, width], 0..255, upright.

    Args:
        source: as of `handwriting.read`.

    Raises:
        Unreadable: it is no picture, or has too few pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # 100 megapixels: a phone
            with _opened(source) as file:
                file.draft("L", (LONGEST_PX, LONGEST_PX))  # a JPEG is decoded at a part of its size
                picture = _opaque(ImageOps.exif_transpose(_reduced(file))).convert("L")
        picture.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BOX)
    except UnidentifiedImageError as error:
        raise Unreadable("it is no picture that Pillow knows") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise Unreadable(f"it can't be read ({reason})") from error
    if min(picture.size) < 3:
        raise Unreadable(f"it is of {picture.width}x{picture.height} pixels, too few to see")
    return np.asarray(picture, float)


def _opened(source: "Path | BinaryIO | Image.Image") -> "Image.Image":
    from PIL import Image

    return source.copy() if isinstance(source, Image.Image) else Image.open(source)


def _reduced(picture: "Image.Image") -> "Image.Image":
    """A picture of at most MOST_PIXELS, which bounds the memory that later steps take."""
    from PIL import ExifTags

    factor = math.ceil(math.sqrt(picture.width * picture.height / MOST_PIXELS))
    if factor <= 1:
        return picture
    picture.load()  # now all of its Exif data are known
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    if picture.mode == "P":  # colours of a palette can't be averaged
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode.startswith("I"):
        picture = picture.convert("I")
    reduced = picture.reduce(factor)
    reduced.getexif()[ExifTags.Base.Orientation] = orientation
    return reduced


def _opaque(picture: "Image.Image") -> "Image.Image":
    """Puts a transparent picture on white paper, or on black paper if it is drawn in white."""
    from PIL import Image

    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode.startswith("I"):  # of 16 bits
        return picture.convert("F").point(lambda x: x / 257.0)
    if picture.mode not in ("LA", "RGBA"):
        return picture
    drawn = picture.convert("LA")
    brightness, seen = (np.asarray(band, float) for band in drawn.split())
    bright = (brightness * seen).sum() > 127.5 * max(seen.sum(), 1.0)
    paper = Image.new("LA", drawn.size, (0 if bright and seen.min() < 255 else 255, 255))
    return Image.alpha_composite(paper.convert("RGBA"), drawn.convert("RGBA"))
