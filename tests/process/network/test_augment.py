"""Random turns, zooms and shifts: known ones by hand, and the same on any cut of the batch.

TensorFlow is in this process: one replica.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from mnist_dist.network.augment import STREAM, Augmentation
from mnist_dist.network.row_positions import RowPositions

ALL = Augmentation(shift_px=2.0, rotate_deg=15.0, zoom=0.2)
IMAGES = np.random.default_rng(1).random((9, 12, 12, 1)).astype(np.float32)


def rows(first=0, real=9, seed=0, step=0):
    return RowPositions(seed, tf.constant(step, tf.int64), tf.constant(first, tf.int64), real, list)


def changed(augmentation, images, draw):
    """One image under known draws in -1..1: turn, zoom, shift along x, along y."""
    height, width = images.shape
    transforms = augmentation.transforms(tf.constant([draw], tf.float32), height, width)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images[None, :, :, None].astype(np.float32),
        transforms=transforms,
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    ).numpy()[0, :, :, 0]


def test_whole_and_half_pixel_shifts():
    """A draw of 1 takes each pixel from max pixels to the right, and from below."""
    image = np.arange(1.0, 21.0).reshape(4, 5)
    shift = Augmentation(shift_px=2.0)
    right = np.zeros((4, 5))
    right[:, :3] = image[:, 2:]
    np.testing.assert_array_equal(changed(shift, image, [0, 0, 1, 0]), right)
    up = np.zeros((4, 5))
    up[1:] = image[:3]
    np.testing.assert_array_equal(changed(shift, image, [0, 0, 0, -0.5]), up)
    half = (image[:, :-1] + image[:, 1:]) / 2
    found = changed(shift, image, [0, 0, 0.25, 0])
    np.testing.assert_allclose(found[:, :4], half)
    np.testing.assert_allclose(found[:, 4], image[:, 4] / 2)  # half of it is outside: zero


@pytest.mark.parametrize("size", [(5, 5), (6, 6)])
def test_quarter_turns_about_the_centre(size):
    image = np.random.default_rng(0).random(size).astype(np.float32)
    turn = Augmentation(rotate_deg=90.0)
    there, back = changed(turn, image, [1, 0, 0, 0]), changed(turn, image, [-1, 0, 0, 0])
    np.testing.assert_allclose(there, np.rot90(image), atol=1e-5)
    np.testing.assert_allclose(back, np.rot90(image, -1), atol=1e-5)
    half = changed(Augmentation(rotate_deg=180.0), image, [1, 0, 0, 0])
    np.testing.assert_allclose(half, image[::-1, ::-1], atol=1e-5)


def test_zoom_about_the_centre():
    """Twice as large in the middle: pixels lie at -1, -0.5, 0, 0.5, 1 of the old ones."""
    image = np.arange(25.0).reshape(5, 5)
    found = changed(Augmentation(zoom=1.0), image, [0, 1, 0, 0])
    rows = np.array([1.0, 1.5, 2.0, 2.5, 3.0])
    np.testing.assert_allclose(found, 5 * rows[:, None] + rows[None, :])
    # Half as large: every second pixel, and zeros around.
    found = changed(Augmentation(zoom=0.5), image, [0, -1, 0, 0])
    wanted = np.zeros((5, 5))
    wanted[1:4, 1:4] = image[::2, ::2]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_point_by_hand():
    """All at once: the pixel at output p comes from R(30°) (p - c) / 1.25 + c + shift."""
    height = width = 28
    what = Augmentation(shift_px=4.0, rotate_deg=30.0, zoom=0.5)
    matrix = what.transforms(tf.constant([[1.0, 0.5, -0.5, 0.25]]), height, width).numpy()[0]
    cos, sin = math.sqrt(3) / 2 / 1.25, 0.5 / 1.25
    for x, y in ((0, 0), (13.5, 13.5), (27, 3)):
        dx, dy = x - 13.5, y - 13.5
        wanted = [13.5 + cos * dx - sin * dy - 2.0, 13.5 + sin * dx + cos * dy + 1.0]
        found = [
            matrix[0] * x + matrix[1] * y + matrix[2],
            matrix[3] * x + matrix[4] * y + matrix[5],
        ]
        assert found == pytest.approx(wanted, abs=1e-5)
    assert list(matrix[6:]) == [0.0, 0.0]


def test_draws_fill_their_ranges_evenly():
    """Over 4,000 images each of the four draws is uniform in -1..1, and independent."""
    draws = rows().uniform(4000, 4, STREAM).numpy() * 2 - 1
    assert draws.min() >= -1.0
    assert draws.max() < 1.0
    for column in draws.T:
        counts, _ = np.histogram(column, 4, (-1, 1))
        assert abs(counts - 1000).max() < 5 * math.sqrt(4000 * 0.25 * 0.75)
    correlations = np.corrcoef(draws.T) - np.eye(4)
    assert abs(correlations).max() < 5 / math.sqrt(4000)


def test_nothing_asked_is_the_very_images():
    images = tf.constant(IMAGES)
    assert Augmentation().apply(images, rows()) is images


def test_each_range_is_respected():
    """Of a white image only as much as the shift's range gets black."""
    white = tf.ones([500, 9, 9, 1])
    found = Augmentation(shift_px=2.0).apply(white, rows(real=500)).numpy()[..., 0]
    assert (found[:, 2:7, 2:7] == 1.0).all()
    for edge in (found[:, :, 0], found[:, :, 8], found[:, 0], found[:, 8]):
        assert 0.3 < (edge[:, 4] < 0.999).mean() < 0.7  # each side in half of the images
        assert (edge == 0.0).any()


@pytest.mark.parametrize("cut", [1, 2, 5, 8])
def test_rows_do_not_depend_on_the_cut(cut):
    """Rows from `cut` on are those of the whole batch, bit by bit."""
    whole = ALL.apply(tf.constant(IMAGES), rows()).numpy()
    first = ALL.apply(tf.constant(IMAGES[:cut]), rows(0, cut)).numpy()
    second = ALL.apply(tf.constant(IMAGES[cut:]), rows(cut, 9 - cut)).numpy()
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert (whole != IMAGES).any(axis=(1, 2, 3)).all()


def test_stateless_by_seed_step_and_row():
    same = tf.constant(np.repeat(IMAGES[:1], 9, 0))

    def apply(**where):
        return ALL.apply(same, rows(**where)).numpy()

    assert (apply(step=3) == apply(step=3)).all()
    changes = [apply(), apply(step=1), apply(step=2), apply(seed=1), apply(first=9)]
    everything = np.concatenate(changes)
    assert len(np.unique(everything.reshape(len(everything), -1), axis=0)) == 45


def test_float64_gives_the_same_images():
    exact = ALL.apply(tf.constant(IMAGES, tf.float64), rows()).numpy()
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, ALL.apply(tf.constant(IMAGES), rows()).numpy(), atol=1e-5)
