"""Pictures of an evaluation, as pixels: the confusion matrix and the worst mistakes."""

import numpy as np

# Digits of 3x5 pixels, row by row: enough for counts and classes, and it takes no library.
DIGITS = (
    *("111101101101111", "010110010010111", "111001111100111", "111001111001111"),
    *("101101111001001", "111100111001111", "111100111101111", "111001001010010"),
    *("111101111101111", "111101111001111"),
)
CELLS, LEAST, MOST = 800, 8, 40  # pixels: a matrix, and the sides of its cells
ZOOM = 3
COLUMNS = 8
RIGHT, WRONG, PAPER, INK = (38, 110, 180), (200, 60, 40), (255, 255, 255), (40, 40, 40)


def confusion(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Rows are the right classes, columns the predicted ones, both from 0 on.

    A cell is darker the larger its share of the row, by the square root, so that one in a hundred
    is seen; blue where it is right. Counts stand in the cells where they fit.

    Args:
        labels: int [examples], from 0 to num_classes, exclusive.
        predictions: the same.
        num_classes: how many there are.

    Returns:
        uint8 [height, width, 3].
    """
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predictions), 1)
    shares = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    side = int(np.clip(CELLS // (num_classes + 1), LEAST, MOST))
    page = _page((num_classes + 1) * side, (num_classes + 1) * side)
    for row in range(num_classes):
        for place in ((row + 1, 0), (0, row + 1)):
            _write(_cell(page, *place, side), str(row), INK)
        for column in range(num_classes):
            cell = _cell(page, row + 1, column + 1, side)
            colour = RIGHT if row == column else WRONG
            share = shares[row, column]
            cell[:-1, :-1] = share * np.array(colour) + (1.0 - share) * np.array(PAPER)
            if counts[row, column]:
                _write(cell, str(counts[row, column]), PAPER if share > 0.6 else INK)
    return page


def mistakes(images: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """A table of images, each with its right class at the left and the predicted one, in red.

    Args:
        images: uint8 [examples, height, width, channels].
        labels: int [examples].
        predictions: int [examples].

    Returns:
        uint8 [height, width, 3]; one empty cell where there are no images.
    """
    height, width = images.shape[1] * ZOOM, images.shape[2] * ZOOM
    text = 7 * 2  # pixels
    rows = max(-(-len(images) // COLUMNS), 1)
    page = _page(rows * (height + text + 4), min(max(len(images), 1), COLUMNS) * (width + 4))
    for number, image in enumerate(images):
        top = number // COLUMNS * (height + text + 4)
        left = number % COLUMNS * (width + 4)
        large = image[..., : 1 if image.shape[-1] < 3 else 3].repeat(ZOOM, 0).repeat(ZOOM, 1)
        page[top : top + height, left : left + width] = large
        line = page[top + height : top + height + text, left : left + width]
        _write(line[:, : width // 2], str(labels[number]), INK)
        _write(line[:, width // 2 :], str(predictions[number]), WRONG)
    return page


def _page(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _cell(page: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    return page[row * side : (row + 1) * side, column * side : (column + 1) * side]


def _write(place: np.ndarray, number: str, colour: tuple[int, int, int]) -> None:
    """A number in the middle of a part of a page, as large as fits, at most twice; or nothing."""
    bits = [np.array(list(DIGITS[int(digit)]), int).reshape(5, 3) for digit in number]
    mask = np.hstack([np.pad(digit, ((0, 0), (0, 1))) for digit in bits])[:, :-1]
    for zoom in (2, 1):
        large = mask.repeat(zoom, 0).repeat(zoom, 1).astype(bool)
        top = (place.shape[0] - large.shape[0]) // 2
        left = (place.shape[1] - large.shape[1]) // 2
        if top > 0 and left > 0:
            part = place[top : top + large.shape[0], left : left + large.shape[1]]
            part[large] = colour
            return
