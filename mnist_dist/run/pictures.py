"""Pictures of an evaluation: the confusion matrix and the worst mistakes. Drawn by Pillow."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnist_dist.errors import RunError
from mnist_dist.run.atomic import replace

MATRIX_PX, LEAST_PX, MOST_PX = 800, 8, 40
"""The side of a confusion matrix, and the least and the largest side of its cells."""

RIGHT, WRONG, PAPER, INK = (38, 110, 180), (200, 60, 40), (255, 255, 255), (40, 40, 40)
COLUMNS = 8
TILE_PX, TEXT_PX, GAP_PX = 84, 16, 10


def confusion(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Draws the confusion matrix: a row for each label, a column for each prediction.

    The darkness of a cell is the square root of its share of the row, so that one in a hundred is
    visible; right predictions are blue, wrong ones red. Classes and counts are written where they
    fit into the cells.

    Args:
        labels: int [examples], from 0 to num_classes, exclusive.
        predictions: the same.
        num_classes: the number of classes.

    Returns:
        uint8 [height, width, 3].
    """
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predictions), 1)
    shares = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    side = int(np.clip(MATRIX_PX // (num_classes + 1), LEAST_PX, MOST_PX))
    page = Image.new("RGB", ((num_classes + 1) * side,) * 2, PAPER)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(min(0.6 * side, TEXT_PX))

    def write(row: int, column: int, number: int, colour: tuple[int, int, int]) -> None:
        text, middle = str(number), ((column + 0.5) * side, (row + 0.5) * side)
        left, top, right, bottom = pen.textbbox(middle, text, font, "mm")
        if max(right - left, bottom - top) < side - 2:
            pen.text(middle, text, colour, font, "mm")

    for name in range(num_classes):
        write(name + 1, 0, name, INK)
        write(0, name + 1, name, INK)
    for row, column in np.argwhere(counts).tolist():
        share = shares[row, column]
        colour = RIGHT if row == column else WRONG
        shade = [round(share * c + (1.0 - share) * p) for c, p in zip(colour, PAPER, strict=True)]
        left, top = (column + 1) * side, (row + 1) * side
        pen.rectangle((left, top, left + side - 2, top + side - 2), tuple(shade))
        write(row + 1, column + 1, counts[row, column], PAPER if share > 0.6 else INK)
    return np.asarray(page)


def mistakes(
    images: np.ndarray, labels: np.ndarray, predictions: np.ndarray, losses: np.ndarray
) -> np.ndarray:
    """Draws wrongly predicted images, each above its label, its prediction and its loss.

    Args:
        images: uint8 [examples, height, width, channels].
        labels: int [examples].
        predictions: int [examples].
        losses: float [examples], in nats.

    Returns:
        uint8 [height, width, 3]; an empty picture if there are no images.
    """
    columns = max(min(COLUMNS, len(images)), 1)
    rows = max(-(-len(images) // columns), 1)
    width, height = TILE_PX + GAP_PX, TILE_PX + 2 * TEXT_PX + GAP_PX
    page = Image.new("RGB", (columns * width + GAP_PX, rows * height + GAP_PX), PAPER)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(TEXT_PX - 3)
    for number, image in enumerate(images):
        left, top = GAP_PX + number % columns * width, GAP_PX + number // columns * height
        tile = Image.fromarray(on_paper(image))
        page.paste(tile.resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST), (left, top))
        text = f"{labels[number]} taken for {predictions[number]}\nloss {losses[number]:.2f}"
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
