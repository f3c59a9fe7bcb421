"""The parts of the network that Keras doesn't have as this program needs them."""

from typing import Any, Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.network.rows import Rows

Statistics: TypeAlias = dict[str, tf.Tensor]
"""Name of a moving statistic -> this micro-batch's value of it, times its real examples."""


class Layer(Protocol):
    """A Keras layer with weights."""

    kernel: keras.Variable
    bias: keras.Variable


class BatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015) over the real rows of all replicas.

    Keras's own, given a mask, leaves the replicas unsynchronised, and fails on a replica without
    rows. The mean and variance are those of the micro-batch over all replicas.

    Attributes:
        variables: name -> Keras variable [channels], in the dtype of the statistics.
        trainable: the names of scale and offset.
    """

    momentum = 0.9
    epsilon = 1e-3

    def __init__(self, name: str, channels: int, channels_first: bool, dtype: str) -> None:
        self._name = name
        self._dtype = tf.as_dtype(dtype)
        self._channels_first = channels_first

        def variable(part: str, value: float, trainable: bool) -> keras.Variable:
            initial = np.full([channels], value, dtype)
            return keras.Variable(initial, None, dtype, trainable, name=f"{name}_{part}")

        self.scale, self.offset = variable("scale", 1.0, True), variable("offset", 0.0, True)
        self.mean, self.variance = variable("mean", 0.0, False), variable("variance", 1.0, False)
        self.trainable = (f"{name}/scale", f"{name}/offset")
        self.variables = {
            f"{name}/scale": self.scale,
            f"{name}/offset": self.offset,
            f"{name}/moving_mean": self.mean,
            f"{name}/moving_variance": self.variance,
        }

    def __call__(self, x: tf.Tensor, rows: Rows | None, statistics: Statistics) -> tf.Tensor:
        """Normalises x in the dtype of the statistics; in training adds to `statistics`."""
        flat = self._channels_first and len(x.shape) == 4
        wide = [1, -1, 1, 1] if flat else [1] * (len(x.shape) - 1) + [-1]
        y = tf.cast(x, self._dtype)
        if rows is None:
            mean, variance = self.mean.value, self.variance.value
        else:
            axes = [0, 2, 3] if flat else list(range(len(x.shape) - 1))
            mean, variance, examples = self._moments(y, rows, axes)
            statistics[f"{self._name}/moving_mean"] = mean * examples
            statistics[f"{self._name}/moving_variance"] = variance * examples
        scale = self.scale.value * tf.math.rsqrt(variance + self.epsilon)
        y = y * tf.reshape(scale, wide) + tf.reshape(self.offset.value - mean * scale, wide)
        return tf.cast(y, x.dtype)

    @staticmethod
    def _moments(y: tf.Tensor, rows: Rows, axes: list[int]) -> tuple[tf.Tensor, ...]:
        """Mean and variance over the real rows everywhere, and how many examples those are."""
        real = tf.reshape(rows.mask(y.shape[0], y.dtype), [-1] + [1] * (len(y.shape) - 1))
        y = y * real
        sums = [tf.reduce_sum(y, axes), tf.reduce_sum(y * y, axes)]
        pixels = tf.size(y[0], tf.int32) // sums[0].shape[0]
        count = tf.cast(tf.stack([rows.real]), y.dtype)
        total = rows.sum_over_replicas(tf.concat([*sums, count], 0))
        examples = total[-1]
        # A micro-batch may be empty everywhere, at the end of an epoch.
        values = tf.maximum(examples * tf.cast(pixels, y.dtype), 1.0)
        mean, square = tf.split(total[:-1] / values, 2)
        return mean, tf.maximum(square - mean * mean, 0.0), examples


def max_pool(x: tf.Tensor, data_format: str) -> tf.Tensor:
    """The largest of each 2x2 square; an odd last row or column counts as a square."""
    return tf.nn.max_pool2d(x, 2, 2, "SAME", "NCHW" if data_format == "channels_first" else "NHWC")


def max_pool_of_slices(x: tf.Tensor, data_format: str) -> tf.Tensor:
    """`max_pool`, to the bit and with its gradient, in elementwise operations that XLA fuses."""
    rows = 2 if data_format == "channels_first" else 1  # the axis; that of the columns is the next

    def halves(y: tf.Tensor, axis: int) -> list[tf.Tensor]:
        """The even and the odd rows, or columns."""
        shape = [*y.shape[:axis], y.shape[axis] // 2, 2, *y.shape[axis + 1 :]]
        return tf.unstack(tf.reshape(y, _static(shape)), axis=axis + 1)

    def joined(parts: list[tf.Tensor], axis: int) -> tf.Tensor:
        """What `halves` takes apart."""
        shape = [*parts[0].shape[:axis], 2 * parts[0].shape[axis], *parts[0].shape[axis + 1 :]]
        return tf.reshape(tf.stack(parts, axis + 1), _static(shape))

    @tf.custom_gradient
    def pool(even: tf.Tensor) -> Any:
        squares = [part for half in halves(even, rows) for part in halves(half, rows + 1)]
        most = tf.maximum(tf.maximum(*squares[:2]), tf.maximum(*squares[2:]))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            parts, free = [], tf.ones_like(most, tf.bool)
            for square in squares:  # the first of equals has it, as in TensorFlow's kernels
                mine = free & tf.equal(square, most)
                parts.append(tf.where(mine, upstream, tf.zeros([], upstream.dtype)))
                free = free & ~mine
            return joined([joined(parts[:2], rows + 1), joined(parts[2:], rows + 1)], rows)

        return most, gradient

    odd = [side % 2 if axis in (rows, rows + 1) else 0 for axis, side in enumerate(x.shape)]
    if any(odd):
        x = tf.pad(x, [[0, more] for more in odd], constant_values=x.dtype.min)
    return pool(x)


def _static(shape: list[int | None]) -> list[int]:
    """A shape to reshape to, of which the number of rows may be unknown."""
    return [-1 if side is None else side for side in shape]


def residual_add(y: tf.Tensor, shortcut: tf.Tensor) -> tf.Tensor:
    """The sum of a block's output and its shortcut (He et al. 2016), in the block's dtype."""
    return y + tf.cast(shortcut, y.dtype)
