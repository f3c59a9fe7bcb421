"""The pictures of an evaluation, pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from mnist_dist.run.pictures import (
    INK,
    PAPER,
    RIGHT,
    WRONG,
    confusion,
    mistakes,
    on_paper,
    png,
)


def cells_of(page, side=40):
    squares = range(len(page) // side)
    return {
        (r, c): page[r * side : (r + 1) * side, c * side : (c + 1) * side]
        for r in squares
        for c in squares
    }


def has(part, colour):
    """Whether text of a colour is in it: the edges of strokes are blended with the ground."""
    return (np.abs(part.astype(int) - colour).max(-1) < 80).any()


def test_the_confusion_matrix():
    """Three of class 0: two right and one taken for 1; five of class 1, all right."""
    page = confusion(np.array([0, 0, 0] + [1] * 5), np.array([0, 0, 1] + [1] * 5), "01")
    assert page.shape == (120, 120, 3)
    cells = cells_of(page)
    shades = {cell: pixels[2, 2] for cell, pixels in cells.items()}
    assert list(shades[2, 2]) == list(RIGHT)  # all of the row
    assert list(shades[2, 1]) == list(PAPER)  # none
    share = np.sqrt(1 / 3)
    assert shades[1, 2] == pytest.approx(share * np.array(WRONG) + (1 - share) * 255, abs=1)
    assert has(cells[2, 2][:-1, :-1], PAPER)  # its count, on dark ground
    assert has(cells[1, 2], INK)  # on light ground
    assert has(cells[1, 0], INK)  # its class
    np.testing.assert_array_equal(cells[1, 0], cells[0, 1])
    assert (cells[1, 0] != cells[2, 0]).any()
    assert (cells[2, 1] == PAPER).all()


@pytest.mark.parametrize("classes", [2, 10, 62, 300])
def test_it_fits_any_number_of_classes(classes):
    labels = np.arange(classes)
    page = confusion(labels, labels, [str(number) for number in labels])
    assert page.shape[0] == page.shape[1] <= max(800, 8 * (classes + 1))
    assert page.dtype == np.uint8


def test_names_of_classes():
    """A long one gets a margin, and stands upright above its column; without a glyph, a number."""
    labels = np.array([0, 1, 1])
    names = ["T-shirt/top", "あ"]
    page = confusion(labels, labels, names)
    margin = page.shape[0] - 2 * 40
    assert margin > 60
    np.testing.assert_array_equal(page.shape, (margin + 80, margin + 80, 3))
    assert has(page[margin : margin + 40, :margin], INK)
    row = (page[margin : margin + 40, :margin].min(-1) < 128).sum()
    column = (page[:margin, margin : margin + 40].min(-1) < 128).sum()
    assert 0.8 < row / column < 1.25  # the same text, turned
    numbered = confusion(labels, labels, ["T-shirt/top", "1"])
    np.testing.assert_array_equal(page, numbered)
    other = confusion(labels, labels, ["top/T-shirt", "1"])
    assert other.shape != page.shape or (other != page).any()
    images, losses = np.zeros((1, 4, 4, 1), np.uint8), np.ones(1)
    drawn = mistakes(images, labels[:1], labels[1:2], losses, ["T-shirt/top", "Ankle boot"])
    assert drawn.shape == (136, 104, 3)
    assert not has(drawn[94:, 102:], INK), "the text is cut to its tile"
    assert (drawn != mistakes(images, labels[:1], labels[1:2], losses, "01")).any()


def test_mistakes():
    images = np.zeros((9, 4, 6, 1), np.uint8)
    images[8, 0, 0] = 77
    labels, predictions, losses = np.full(9, 5), np.arange(9), np.linspace(9, 1, 9)
    page = mistakes(images, labels, predictions, losses, "0123456789")
    assert page.shape == (2 * 126 + 10, 8 * 94 + 10, 3)
    ninth = page[136 : 136 + 84, 10 : 10 + 84]
    assert (ninth[:21, :14] == 255 - 77).all()  # 4x6 pixels on 84x84
    assert (ninth[:, 14:] == 255).all()
    assert has(page[136 + 84 :, 10 : 10 + 94], INK)
    assert not has(page[136 + 84 :, 10 + 94 :], INK)
    other = mistakes(images, labels, predictions, losses + 1, "0123456789")
    assert (other[:220] != page[:220]).any()  # the loss is in it
    assert mistakes(images[:0], labels[:0], predictions[:0], losses[:0], "01").shape == (
        136,
        104,
        3,
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_hold_the_pixels(channels):
    image = np.arange(16 * channels, dtype=np.uint8).reshape(4, 4, channels)
    found = np.asarray(Image.open(io.BytesIO(png(image))))
    np.testing.assert_array_equal(found.reshape(image.shape), image)
    shown = on_paper(image)
    expected = 255 - image.repeat(3, -1) if channels == 1 else image[..., :3]
    np.testing.assert_array_equal(shown, expected)
