"""What XLA gets in the place of TensorFlow's operations: the same numbers, compiled or not."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_dist.network import xla
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.layers import max_pool
from mnist_dist.network.row_positions import RowPositions
from tests.process.trainer import SMALL, train

RANDOM = np.random.default_rng(5)
COMPILED = pytest.mark.parametrize("compiled", [False, True], ids=["as it is", "by XLA"])


def of(function, compiled):
    return tf.function(function, autograph=False, jit_compile=compiled)


def rows(seed, step, first, compiled):
    real = tf.constant(1, tf.int32)
    step, first = tf.constant(step, tf.int64), tf.constant(first, tf.int64)
    return RowPositions(seed, step, first, real, list, compiled)


def waves(shape):
    return np.sin(np.arange(np.prod(shape)) / 9.0).reshape(shape)


def near(found, wanted, values):
    """Within the rounding of sums of so many values of about 1, in float64."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=values * 2.0**-52)


@COMPILED
@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
@pytest.mark.parametrize(
    ("step", "first", "stream"), [(0, 0, 0), (3, 41, 1), (2**40, 2**33 + 5, 255)]
)
def test_random_numbers_are_those_of_tensorflow_in_all_bits(seed, step, first, stream, compiled):
    wanted = rows(seed, step, first, False).uniform(5, 10, stream)
    found = of(lambda: rows(seed, step, first, True).uniform(5, 10, stream), compiled)()
    assert (found.numpy() == wanted.numpy()).all()
    assert len(set(found.numpy().ravel().tolist())) == 50


@COMPILED
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(("side", "channels"), [(5, 1), (3, 4), (2, 3), (1, 2)])
def test_a_convolution_and_its_gradients(side, channels, same, compiled):
    x = tf.constant(RANDOM.normal(size=(3, 7, 9, channels)))
    kernel = tf.constant(RANDOM.normal(size=(side, side, channels, 6)))

    def both(convolution):
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            y = convolution()
            loss = tf.reduce_sum(y * waves(y.shape))
        return y, *tape.gradient(loss, (x, kernel))

    wanted = both(lambda: tf.nn.conv2d(x, kernel, 1, "SAME" if same else "VALID"))
    found = of(lambda: both(lambda: xla.convolution(x, kernel, same)), compiled)()
    for a, b in zip(found, wanted, strict=True):
        near(a, b, 3 * 7 * 9 * 8)


@COMPILED
@pytest.mark.parametrize("height", [6, 7])
def test_a_max_pool_and_its_gradient_with_ties(height, compiled):
    x = tf.constant(RANDOM.integers(0, 3, size=(4, height, 5, 3)), tf.float64)  # many are equal

    def both(pool):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = pool(x)
            loss = tf.reduce_sum(y * tf.reshape(tf.range(tf.size(y), dtype=y.dtype), y.shape))
        return y, tape.gradient(loss, x)

    wanted = both(lambda x: max_pool(x, "channels_last"))
    found = of(lambda: both(xla.max_pool), compiled)()
    for a, b in zip(found, wanted, strict=True):
        assert (a.numpy() == b.numpy()).all()


@COMPILED
def test_one_hot(compiled):
    labels = tf.constant([3, 0, 9, 9], tf.int32)
    found = of(lambda: xla.one_hot(labels, 10, tf.float32), compiled)()
    assert (found.numpy() == np.eye(10)[labels]).all()


@COMPILED
def test_images_are_turned_alike(compiled):
    images = tf.constant(RANDOM.random((40, 28, 26, 2)), tf.float64)
    change = Augmentation(shift_px=9.0, rotate_deg=180.0, zoom=0.5)
    wanted = change.apply(images, rows(3, 5, 64, False))
    found = of(lambda: change.apply(images, rows(3, 5, 64, True)), compiled)()
    # Where from is computed in float32: 2^-24 of up to 60 pixels, some four roundings.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * 60 * 2.0**-24)
    assert np.abs(wanted - images).max() > 0.5


def test_steps_are_compiled_once_for_blocks_of_all_lengths(tmp_path, monkeypatch, subset):
    dumped = tmp_path / "hlo"
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={dumped} --xla_dump_hlo_as_text")
    flags = ("--xla=on", "--batch_size=50", "--steps_per_loop=5", "--max_steps=9")
    run = train(tmp_path, *SMALL, *flags, f"--data_dir={subset}", "--validation_size=500")
    assert run.code == 0, run.err
    names = [path.name for path in dumped.glob("*.before_optimizations.txt")]
    assert len(names) == 1, names
