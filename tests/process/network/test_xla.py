"""What XLA compiles on a GPU, compiled for the CPU here: the same numbers as without it."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_dist.network.layers import max_pool, max_pool_of_slices
from mnist_dist.network.rows import Rows


def pooled(pool, x, data_format):
    """The output, and the gradient of a sum in which each output has a weight of its own."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = pool(x, data_format)
        weights = tf.reshape(tf.range(1.0, tf.size(y, tf.int32) + 1), tf.shape(y))
        total = tf.reduce_sum(y * weights)
    return y, tape.gradient(total, x)


@pytest.mark.parametrize("shape", [(3, 8, 8, 4), (2, 7, 5, 3)])
@pytest.mark.parametrize("largest", [2, 10**6])  # with many equal pixels, and hardly any
def test_the_pool_of_slices_is_the_pool(shape, largest):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.integers(-largest, largest, shape), tf.float32)
    expected = pooled(max_pool, x, "channels_last")
    compiled = tf.function(pooled, jit_compile=True)
    for run in (pooled, compiled):
        for found, right in zip(run(max_pool_of_slices, x, "channels_last"), expected, strict=True):
            assert np.array_equal(found, right)
        first = run(max_pool_of_slices, tf.transpose(x, [0, 3, 1, 2]), "channels_first")
        assert np.array_equal(tf.transpose(first[0], [0, 2, 3, 1]), expected[0])


def test_random_numbers_are_the_same_under_xla():
    """XLA makes other floats of the same words, so the program makes them itself."""

    def draw(step, first):
        return Rows(7, step, first, tf.constant(5), lambda value: value).uniform(64, 30, 2)

    at = (tf.constant(11, tf.int64), tf.constant(5, tf.int64))
    plain = tf.function(draw)(*at).numpy()
    assert np.array_equal(tf.function(draw, jit_compile=True)(*at), plain)
    assert plain.min() >= 0.0
    assert plain.max() < 1.0
    # As TensorFlow's own operation gives them: a row is 8 groups of four, the 5th begins at 40.
    own = tf.raw_ops.StatelessRandomUniformV2(
        shape=[64, 32],
        key=tf.constant([7], tf.uint64),
        counter=tf.constant([40, 11 * 256 + 2], tf.uint64),
        alg=1,
        dtype=tf.float32,
    )
    assert np.array_equal(own[:, :30], plain)
