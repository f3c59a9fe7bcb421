"""Draws docs/handwriting.png: the tests' pictures of digits, and beside each what a network sees.

python docs/handwriting.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from mnist_dist.use import handwriting, picture_files

ROOT = Path(__file__).parents[1]
SIDE, GAP, COLUMNS = 120, 12, 4


def main() -> None:
    """Writes the picture."""
    paths = picture_files.find([str(ROOT / "tests/handwriting")]).paths
    wide, high = 2 * SIDE + 2 * GAP, SIDE + GAP
    rows = -(-len(paths) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * wide + GAP, rows * high + GAP), 225)
    for number, path in enumerate(paths):
        left, top = GAP + number % COLUMNS * wide, GAP + number // COLUMNS * high
        with Image.open(path) as file:
            white = Image.new("RGBA", file.size, "white")
            picture = Image.alpha_composite(white, file.convert("RGBA")).convert("L")
        picture.thumbnail((SIDE, SIDE))
        x, y = (SIDE - picture.width) // 2, (SIDE - picture.height) // 2
        sheet.paste(picture, (left + x, top + y))
        seen = Image.fromarray(np.squeeze(handwriting.read(path, (28, 28, 1)), -1))
        sheet.paste(seen.resize((SIDE, SIDE), Image.Resampling.NEAREST), (left + SIDE + 2, top))
    sheet.save(ROOT / "docs/handwriting.png", optimize=True)


if __name__ == "__main__":
    main()
