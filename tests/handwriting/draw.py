"""Draws the pictures of digits beside this file, for the tests of `evaluate --images`.

    python tests/handwriting/draw.py

Nobody's handwriting: each digit is a path of points set by eye, as a pen would go, made round by
a spline, shaken and slanted by a generator with a seed, and drawn with a round brush whose width
changes along the way. Then it is put on paper: clean, black, lit from a side with grain, on a card
with a shadow's edge. The name's first letter is the digit.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.interpolate import splev, splprep

# Strokes of points (x, y) in a box of 0..1, y downwards.
PATHS = {
    0: [[(0.55, 0.05), (0.2, 0.2), (0.1, 0.6), (0.35, 0.97), (0.7, 0.85), (0.85, 0.4),
         (0.6, 0.06)]],
    1: [[(0.42, 0.22), (0.56, 0.05), (0.54, 0.35), (0.5, 0.65), (0.47, 0.97)]],
    2: [[(0.15, 0.25), (0.35, 0.05), (0.7, 0.1), (0.72, 0.4), (0.4, 0.72), (0.1, 0.95)],
        [(0.1, 0.95), (0.35, 0.88), (0.6, 0.93), (0.9, 0.9)]],
    3: [[(0.15, 0.12), (0.5, 0.03), (0.78, 0.2), (0.62, 0.42), (0.38, 0.47)],
        [(0.38, 0.47), (0.7, 0.52), (0.82, 0.75), (0.5, 0.97), (0.12, 0.86)]],
    4: [[(0.3, 0.08), (0.22, 0.3), (0.12, 0.58), (0.45, 0.6), (0.9, 0.56)],
        [(0.68, 0.1), (0.66, 0.4), (0.63, 0.7), (0.62, 0.98)]],
    5: [[(0.8, 0.06), (0.55, 0.07), (0.28, 0.08)],
        [(0.28, 0.08), (0.23, 0.25), (0.2, 0.44)],
        [(0.2, 0.44), (0.5, 0.36), (0.8, 0.58), (0.65, 0.9), (0.3, 0.97), (0.1, 0.86)]],
    6: [[(0.7, 0.04), (0.38, 0.25), (0.17, 0.65), (0.35, 0.95), (0.68, 0.9), (0.75, 0.65),
         (0.5, 0.52), (0.2, 0.7)]],
    7: [[(0.12, 0.1), (0.4, 0.09), (0.85, 0.07)],
        [(0.85, 0.07), (0.66, 0.35), (0.5, 0.65), (0.4, 0.97)]],
    8: [[(0.72, 0.15), (0.45, 0.03), (0.22, 0.2), (0.45, 0.45), (0.75, 0.7), (0.52, 0.97),
         (0.22, 0.78), (0.45, 0.48), (0.74, 0.22), (0.7, 0.12)]],
    9: [[(0.75, 0.2), (0.48, 0.05), (0.2, 0.25), (0.35, 0.5), (0.68, 0.4), (0.76, 0.18)],
        [(0.76, 0.18), (0.74, 0.45), (0.68, 0.7), (0.62, 0.97)]],
}  # fmt: skip
FOLDER = Path(__file__).parent
FINE = 3  # drawn so many times larger, then scaled down


def strokes(digit, size, width, seed):
    """Ink of 0..1 on a picture: float [height, width] of `size` = (width, height)."""
    random = np.random.default_rng(seed)
    columns, rows = size
    picture = Image.new("L", (columns * FINE, rows * FINE), 0)
    pen = ImageDraw.Draw(picture)
    side = 0.62 * min(size) * FINE
    left, top = (np.array([columns, rows]) * FINE - side) / 2 + random.normal(0, 0.04 * side, 2)
    slant = random.uniform(-0.12, 0.12)
    for path in PATHS[digit]:
        points = np.array(path) + random.normal(0, 0.012, (len(path), 2))
        course = splprep(points.T, s=0, k=min(3, len(path) - 1))[0]
        x, y = splev(np.linspace(0, 1, 400), course)
        x = x + slant * (0.5 - y)
        wide = width * FINE * (1 + 0.18 * np.sin(np.linspace(0, 5, 400) + random.uniform(0, 6)))
        for cx, cy, r in zip(left + side * x, top + side * y, wide / 2, strict=True):
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
    return np.asarray(picture.resize(size, Image.Resampling.BOX), float) / 255.0


def light(size, seed):
    """A lamp at one side, darker corners and grain: factors around 1."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    turn = random.uniform(0, 6.28)
    lamp = 0.78 + 0.3 * (x * np.cos(turn) + y * np.sin(turn)) - 0.12 * (x * x + y * y)
    return lamp + random.normal(0, 0.012, x.shape)


def shadow(size):
    """The edge of a hand's shadow across the paper."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    soft = np.clip((x + 0.7 * y - 0.1) / 0.06, 0, 1)
    return 1.0 - 0.4 * soft


def mixed(drawn, paper, colour):
    """Ink of one brightness on paper of another, 0..1."""
    return paper * (1 - drawn) + colour * drawn


def save(name, brightness, **options):
    values = np.clip(np.rint(255 * brightness), 0, 255).astype(np.uint8)
    Image.fromarray(values).save(FOLDER / name, **options)


def main():
    small, tall, wide = (200, 200), (240, 360), (420, 260)
    save("0-black-on-white.png", mixed(strokes(0, small, 13, 1), 1.0, 0.0))
    save("1-white-on-black.png", mixed(strokes(1, tall, 18, 2), 0.0, 1.0))
    save("2-lamp.jpg", light(wide, 3) * mixed(strokes(2, wide, 14, 3), 0.9, 0.25), quality=80)
    save("3-shadow.jpg", shadow(small) * light(small, 4)
         * mixed(strokes(3, small, 12, 4), 0.95, 0.2), quality=80)  # fmt: skip
    save("4-tiny.png", mixed(strokes(4, (34, 45), 3.5, 5), 1.0, 0.1))
    save("5-pencil.jpg", light(tall, 6) * mixed(strokes(5, tall, 5, 6), 0.85, 0.5), quality=85)
    save("6-chalk.jpg", 0.2 * light(small, 7) + 0.7 * strokes(6, small, 12, 7), quality=80)
    save("7-thin.png", mixed(strokes(7, wide, 3, 8), 0.97, 0.15))
    save("8-marker.png", mixed(strokes(8, tall, 26, 9), 0.92, 0.05))
    drawn = Image.fromarray((255 * strokes(9, small, 12, 10)).astype(np.uint8))
    drawn = drawn.filter(ImageFilter.GaussianBlur(0.7))
    blue = Image.new("RGBA", small, (20, 40, 160, 255))
    blue.putalpha(drawn)
    blue.save(FOLDER / "9-transparent.png")


if __name__ == "__main__":
    main()
