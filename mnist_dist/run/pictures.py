"""Pictures of an evaluation: the confusion matrix and the worst mistakes. Drawn by Pillow."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnist_dist.errors import RunError
from mnist_dist.run.atomic import replace

MATRIX_PX, LEAST_PX, MOST_PX = 800, 8, 40
"""The side of a confusion matrix, and the least and the largest side of its cells."""

RIGHT, WRONG, PAPER, INK = (38, 110, 180), (200, 60, 40), (255, 255, 255), (40, 40, 40)
LONGEST_NAME_PX = 120
COLUMNS = 8
TILE_PX, TEXT_PX, GAP_PX = 84, 16, 10

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def confusion(labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draws the confusion matrix: a row for each label, a column for each prediction.

    The darkness of a cell is the square root of its share of the row, so that one in a hundred is
    visible; right predictions are blue, wrong ones red. Counts are written where they fit into the
    cells. So are the classes' names; longer ones get a margin, and stand upright above the columns.

    Args:
        labels: int [examples], the classes' numbers.
        predictions: the same.
        names: of the classes, in order.

    Returns:
        uint8 [height, width, 3].
    """
    num_classes = len(names)
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predictions), 1)
    shares = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    side = int(np.clip(MATRIX_PX // (num_classes + 1), LEAST_PX, MOST_PX))
    font = ImageFont.load_default(min(0.6 * side, TEXT_PX))
    shown = [_drawable(name, number, font) for number, name in enumerate(names)]
    longest = max(font.getlength(name) for name in shown)
    margin = max(side, math.ceil(longest) + 8) if side >= TEXT_PX else side
    page = Image.new("RGB", (margin + num_classes * side,) * 2, PAPER)
    pen = ImageDraw.Draw(page)

    def write(left: int, top: int, width: int, text: str, colour: tuple[int, int, int]) -> None:
        middle = left + width / 2, top + side / 2
        box = pen.textbbox(middle, text, font, "mm")
        if box[2] - box[0] < width - 2 and box[3] - box[1] < side - 2:
            pen.text(middle, text, colour, font, "mm")

    for number, name in enumerate(shown):
        write(0, margin + number * side, margin, name, INK)
        if margin == side:
            write(margin + number * side, 0, side, name, INK)
        else:
            upright = Image.new("RGB", (margin, side), PAPER)
            ImageDraw.Draw(upright).text((4, side / 2), name, INK, font, "lm")
            turned = upright.transpose(Image.Transpose.ROTATE_90)
            page.paste(turned, (margin + number * side, 0))
    for row, column in np.argwhere(counts).tolist():
        share = shares[row, column]
        colour = RIGHT if row == column else WRONG
        shade = [round(share * c + (1.0 - share) * p) for c, p in zip(colour, PAPER, strict=True)]
        left, top = margin + column * side, margin + row * side
        pen.rectangle((left, top, left + side - 2, top + side - 2), tuple(shade))
        write(left, top, side, str(counts[row, column]), PAPER if share > 0.6 else INK)
    return np.asarray(page)


def _drawable(name: str, number: int, font: Font) -> str:
    """A class's name as a picture shows it: its number if the font lacks a character of it."""
    if not all(font.getmask(c).getbbox() or c.isspace() for c in name):
        return str(number)
    missing = bytes(font.getmask("\U0010ffff"))
    if any(not c.isascii() and bytes(font.getmask(c)) == missing for c in name):
        return str(number)
    return _fitting(name, LONGEST_NAME_PX, font)


def _fitting(text: str, width: float, font: Font) -> str:
    """The text, cut until it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    losses: np.ndarray,
    names: Sequence[str],
) -> np.ndarray:
    """Draws wrongly predicted images, each above its label, its prediction and its loss.

    Args:
        images: uint8 [examples, height, width, channels].
        labels: int [examples], the classes' numbers.
        predictions: the same.
        losses: float [examples], in nats.
        names: of the classes, in order.

    Returns:
        uint8 [height, width, 3]; an empty picture if there are no images.
    """
    columns = max(min(COLUMNS, len(images)), 1)
    rows = max(-(-len(images) // columns), 1)
    width, height = TILE_PX + GAP_PX, TILE_PX + 2 * TEXT_PX + GAP_PX
    page = Image.new("RGB", (columns * width + GAP_PX, rows * height + GAP_PX), PAPER)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(TEXT_PX - 3)
    shown = [_drawable(name, number, font) for number, name in enumerate(names)]
    for number, image in enumerate(images):
        left, top = GAP_PX + number % columns * width, GAP_PX + number // columns * height
        tile = Image.fromarray(on_paper(image))
        page.paste(tile.resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST), (left, top))
        label, prediction = shown[labels[number]], shown[predictions[number]]
        text = f"{label} taken for {prediction}"
        if font.getlength(text) > TILE_PX + GAP_PX - 2:
            half = (TILE_PX - font.getlength(" > ")) / 2
            text = f"{_fitting(label, half, font)} > {_fitting(prediction, half, font)}"
        text += f"\nloss {losses[number]:.2f}"
        pen.multiline_text((left, top + TILE_PX), text, INK, font, spacing=1)
    return np.asarray(page)


def on_paper(image: np.ndarray) -> np.ndarray:
    """An image as people expect it: a single channel as dark ink on white.

    Args:
        image: uint8 [height, width, channels], of 1, 3 or 4 channels.

    Returns:
        uint8 [height, width, 3].
    """
    return np.repeat(255 - image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]


def png(pixels: np.ndarray) -> bytes:
    """A uint8 image [height, width, channels], of 1, 3 or 4 channels, as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes a uint8 image [height, width, channels] as a PNG file, in one step.

    Raises:
        RunError: the file can't be written.
    """
    try:
        replace(path, png(pixels))
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror or error})") from error
