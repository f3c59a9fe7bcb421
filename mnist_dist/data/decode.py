"""Decodes encoded pictures (PNG, JPEG, …) of a data set, with bounded pixels. By Pillow.

Pictures are taken as they are: neither scaled nor centred. People's photos of single digits are
prepared by use/handwriting.py instead.
"""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_dist.data.split import MOST_BYTES
from mnist_dist.errors import UsageError, shorten

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
MOST_PIXELS = 1 << 20
"""Larger pictures are refused before they are decoded; 1024x1024 are allowed."""


def stack(pictures: Iterable[tuple[str, Path | bytes]], count: int) -> np.ndarray:
    """Decodes pictures of one size.

    Args:
        pictures: for each picture its name for messages, and its file or its encoded bytes.
        count: the number of pictures.

    Returns:
        uint8 [count, height, width, channels]; one channel if the pictures are grey, else three.

    Raises:
        UsageError: a picture can't be decoded, is too large, has transparent pixels or more than
            8 bits, or isn't of the first one's size or colours; or together they are too large.
    """
    images, first = np.empty((0, 0, 0, 1), np.uint8), ""
    for number, (name, picture) in enumerate(pictures):
        pixels = _decoded(name, picture)
        if not first:
            if count * pixels.nbytes > MOST_BYTES:
                raise UsageError(
                    f"{name}: {count} pictures of {_size(pixels)} take {count * pixels.nbytes} "
                    f"bytes; at most {MOST_BYTES} are read"
                )
            images, first = np.empty((count, *pixels.shape), np.uint8), name
        if pixels.shape != images.shape[1:]:
            raise UsageError(
                f"{name}: {_size(pixels)}, and {shorten(first)} is {_size(images[0])}; "
                "make all pictures of one size, all grey or all in colour"
            )
        images[number] = pixels
    return images


def _size(pixels: np.ndarray) -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} {'grey' if channels == 1 else 'in colour'}"


def _decoded(name: str, picture: Path | bytes) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise UsageError(
                        f"{name}: {image.width}x{image.height} pixels; at most {MOST_PIXELS} are "
                        "read; scale the pictures down"
                    )
                return _pixels(name, image)
    except UnidentifiedImageError as error:
        raise UsageError(
            f"{name}: it isn't a picture that is read ({', '.join(FORMATS)}); remove or convert it"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{name}: too many pixels; scale the pictures down") from error
    # Pillow's decoders raise many types of errors on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
            OverflowError, MemoryError, AttributeError) as error:  # fmt: skip
        reason = shorten(getattr(error, "strerror", None) or error)
        raise UsageError(f"{name}: can't be decoded ({reason}); fetch it again") from error
    except Exception as error:  # struct.error, zlib.error and what else decoders let through
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{name}: can't be decoded ({shorten(error)}); fetch it again") from error


def _pixels(name: str, image: "Image.Image") -> np.ndarray:
    """An open picture as uint8 [height, width, 1 or 3]."""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        if opaque.getchannel("A").getextrema() != (255, 255):
            raise UsageError(
                f"{name}: it has transparent pixels; draw the picture on a background and save it "
                "without transparency"
            )
        image = opaque.convert("L" if image.mode in ("L", "LA") else "RGB")
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        image = image.convert("L" if (colours == colours[:, :1]).all() else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    if image.mode not in ("L", "RGB"):
        raise UsageError(f"{name}: pixels of kind {image.mode}; give pictures of 8 bits a channel")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
