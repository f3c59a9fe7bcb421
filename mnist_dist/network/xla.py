"""Functions compiled by XLA, and replacements for operations that it lacks or compiles badly.

The replacements give the numbers of TensorFlow's operations: random ones bit for bit, others up to
rounding. Without autotuning, which isn't deterministic, XLA chooses slow convolutions. It has no
deterministic gradient of a max-pool, draws other random numbers and can't transform images.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57  # the constants of Salmon et al. 2011
WEYL = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF


def program(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one program of XLA's, whose arguments and results are nested tensors.

    It is traced and compiled once for each replica's device. The partial keeps TensorFlow from
    counting the traces of several runs in a process as those of one function.
    """
    return tf.function(functools.partial(function), autograph=False, jit_compile=True)


def convolution(x: tf.Tensor, kernel: tf.Tensor, same: bool) -> tf.Tensor:
    """A convolution as one matrix product: each output pixel's patch times the kernel.

    Args:
        x: dtype [rows, height, width, channels].
        kernel: dtype [side, side, channels, filters].
        same: pad with zeros to keep height and width; else use whole patches only.
    """
    side, _, channels, filters = kernel.shape
    if same:
        around = [(side - 1) // 2, side // 2]
        x = tf.pad(x, [[0, 0], around, around, [0, 0]])
    rows, height, width = x.shape[0], x.shape[1] - side + 1, x.shape[2] - side + 1
    moved = [x[:, i : i + height, j : j + width] for i in range(side) for j in range(side)]
    patches = tf.reshape(tf.concat(moved, -1), [rows * height * width, side * side * channels])
    y = tf.matmul(patches, tf.reshape(kernel, [side * side * channels, filters]))
    return tf.reshape(y, [rows, height, width, filters])


@tf.custom_gradient
def max_pool(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., tf.Tensor]]:
    """The largest value of each 2x2 square, channels_last; an odd last row or column is padded.

    The gradient goes to the first of equal values, as in TensorFlow's kernels.
    """
    height, width = x.shape[1], x.shape[2]
    around = [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]
    filled = tf.pad(x, around, constant_values=x.dtype.min)
    squares = [filled[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    largest = tf.maximum(tf.maximum(*squares[:2]), tf.maximum(*squares[2:]))

    def gradient(of_largest: tf.Tensor) -> tf.Tensor:
        parts, free = [], tf.ones_like(largest, tf.bool)
        for square in squares:
            chosen = tf.logical_and(free, tf.equal(square, largest))
            free = tf.logical_and(free, tf.logical_not(chosen))
            parts.append(tf.where(chosen, of_largest, tf.zeros_like(of_largest)))
        pairs = [tf.stack(parts[:2], 3), tf.stack(parts[2:], 3)]
        whole = tf.reshape(tf.stack(pairs, 2), filled.shape)
        return whole[:, :height, :width]

    return largest, gradient


def one_hot(labels: tf.Tensor, classes: int, dtype: tf.DType) -> tf.Tensor:
    """1 at each row's label, else 0: dtype [rows, classes].

    By subtraction: from a comparison XLA makes a scatter, one row after another.
    """
    numbers = tf.range(classes, dtype=dtype)
    return tf.maximum(1.0 - tf.abs(tf.cast(labels, dtype)[:, tf.newaxis] - numbers), 0.0)


def uniform(seed: int, low: tf.Tensor, high: tf.Tensor, size: int) -> tf.Tensor:
    """Uniform numbers in [0, 1), equal to those of TensorFlow's StatelessRandomUniformV2 (Philox).

    Args:
        seed: the generator's key.
        low: uint64 scalar, lower half of the first count; it must not overflow.
        high: uint64 scalar, upper half.
        size: how many numbers, a multiple of four.

    Returns:
        float32 [size].
    """
    counts = low + tf.cast(tf.range(size // 4), tf.uint64)
    a, b = counts & LOW, tf.bitwise.right_shift(counts, 32)
    c, d = high & LOW, tf.bitwise.right_shift(high, 32)  # scalars, until they meet the others
    key = [seed & LOW, seed >> 32]
    for _ in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, c = (
            tf.bitwise.right_shift(second, 32) ^ b ^ key[0],
            tf.bitwise.right_shift(first, 32) ^ d ^ key[1],
        )
        b, d = second & LOW, first & LOW
        key = [(part + step) & LOW for part, step in zip(key, WEYL, strict=True)]
    bits = tf.cast(tf.reshape(tf.stack([a, b, c, d], 1), [size]), tf.uint32)
    return tf.bitcast((bits & 0x7FFFFF) | 0x3F800000, tf.float32) - 1.0


def transformed(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Projectively transformed images, sampled bilinearly, with zeros around them.

    Args:
        images: dtype [rows, height, width, channels].
        transforms: float32 [rows, 8], those of ImageProjectiveTransformV3; the last two are zero.
    """
    _, height, width, channels = images.shape
    y, x = tf.meshgrid(
        tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32), indexing="ij"
    )
    t = tf.reshape(transforms, [-1, 8, 1, 1])
    from_x = t[:, 0] * x + t[:, 1] * y + t[:, 2]
    from_y = t[:, 3] * x + t[:, 4] * y + t[:, 5]
    left, top = tf.floor(from_x), tf.floor(from_y)
    around = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    flat = tf.reshape(around, [-1, (height + 2) * (width + 2), channels])

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        row = tf.cast(tf.clip_by_value(row, -1.0, height), tf.int32) + 1
        column = tf.cast(tf.clip_by_value(column, -1.0, width), tf.int32) + 1
        return tf.gather(flat, row * (width + 2) + column, batch_dims=1)

    right = tf.cast(from_x - left, images.dtype)[..., tf.newaxis]
    down = tf.cast(from_y - top, images.dtype)[..., tf.newaxis]
    upper = (1.0 - right) * at(top, left) + right * at(top, left + 1.0)
    lower = (1.0 - right) * at(top + 1.0, left) + right * at(top + 1.0, left + 1.0)
    return (1.0 - down) * upper + down * lower
