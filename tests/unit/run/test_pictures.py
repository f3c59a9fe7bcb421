"""The pictures of an evaluation, looked at pixel by pixel."""

import numpy as np
import pytest

from mnist_dist.run.pictures import INK, PAPER, RIGHT, WRONG, confusion, mistakes

FIVE = ["111", "100", "111", "001", "111"]


def ink(part, colour):
    """Rows of 0 and 1 where the colour is, without what is empty around them."""
    there = (part == colour).all(-1)
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    box = there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ["".join("01"[bit] for bit in row) for row in box[::2, ::2].astype(int)]


def test_the_confusion_matrix():
    """Three of class 0: two right and one taken for 1; five of class 1, all right."""
    page = confusion(np.array([0, 0, 0] + [1] * 5), np.array([0, 0, 1] + [1] * 5), 2)
    assert page.shape == (120, 120, 3)
    cells = {
        (r, c): page[r * 40 : r * 40 + 40, c * 40 : c * 40 + 40] for r in range(3) for c in range(3)
    }
    shades = {where: cell[2, 2] for where, cell in cells.items()}
    assert list(shades[2, 2]) == list(RIGHT)  # all of the row
    assert list(shades[2, 1]) == list(PAPER)  # none
    share = np.sqrt(1 / 3)
    assert shades[1, 2] == pytest.approx(share * np.array(WRONG) + (1 - share) * 255, abs=1)
    assert ink(cells[2, 2], PAPER)[:5] != []
    assert ink(cells[1, 0], INK) == ["111", "101", "101", "101", "111"]  # its class
    assert ink(cells[2, 2][:-1, :-1], PAPER) == FIVE  # its count


@pytest.mark.parametrize("classes", [2, 10, 62, 300])
def test_it_fits_any_number_of_classes(classes):
    labels = np.arange(classes)
    page = confusion(labels, labels, classes)
    assert page.shape[0] == page.shape[1] <= max(800, 8 * (classes + 1))
    assert page.dtype == np.uint8


def test_mistakes():
    images = np.zeros((9, 4, 6, 1), np.uint8)
    images[8, 0, 0] = 77
    labels, predictions = np.full(9, 5), np.arange(9)
    page = mistakes(images, labels, predictions)
    assert page.shape == (2 * (12 + 14 + 4), 8 * (18 + 4), 3)
    ninth = page[30 : 30 + 26, :18]
    assert (ninth[:3, :3] == 77).all()
    assert not ninth[:12, 3:].any()
    assert ink(page[30 + 12 : 30 + 26, :9], INK) == FIVE
    assert mistakes(images[:0], labels[:0], predictions[:0]).shape == (30, 22, 3)
    assert mistakes(np.zeros((1, 4, 6, 3), np.uint8), labels, predictions).shape == (30, 22, 3)
