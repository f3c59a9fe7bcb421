"""PNG files: what a network saw, and what it took for something else. By Pillow."""

from pathlib import Path

import numpy as np

from mnist_dist.data.split import Split
from mnist_dist.errors import RunError
from mnist_dist.training.evaluation import MISTAKES

COLUMNS = 8
TILE_PX, TEXT_PX, GAP_PX = 84, 16, 10


def save(path: Path, image: np.ndarray) -> None:
    """Writes a uint8 image [height, width, channels].

    Raises:
        RunError: it can't be written.
    """
    from PIL import Image

    pixels = image[..., 0] if image.shape[-1] == 1 else image
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror or error})") from error


def mistakes(path: Path, split: Split, predictions: np.ndarray, losses: np.ndarray) -> int:
    """Draws the wrong predictions of the largest losses, the worst first; says how many.

    Args:
        path: the file.
        split: the images and labels.
        predictions: int32 [examples].
        losses: float64 [examples], in nats.
    """
    from PIL import Image, ImageDraw, ImageFont

    wrong = np.flatnonzero(predictions != split.labels)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:MISTAKES]
    columns = max(min(COLUMNS, len(worst)), 1)
    rows = max(-(-len(worst) // columns), 1)
    wide, high = TILE_PX + GAP_PX, TILE_PX + 2 * TEXT_PX + GAP_PX
    sheet = Image.new("RGB", (columns * wide + GAP_PX, rows * high + GAP_PX), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT_PX - 3)
    for number, index in enumerate(worst.tolist()):
        left, top = GAP_PX + number % columns * wide, GAP_PX + number // columns * high
        image = split.images[index]
        pixels = 255 - image[..., 0] if image.shape[-1] == 1 else image
        tile = Image.fromarray(pixels).convert("RGB")
        sheet.paste(tile.resize((TILE_PX, TILE_PX), Image.Resampling.NEAREST), (left, top))
        lines = f"{split.labels[index]} taken for {predictions[index]}\nloss {losses[index]:.2f}"
        pen.multiline_text((left, top + TILE_PX), lines, "black", font, spacing=1)
    save(path, np.asarray(sheet))
    return len(worst)
