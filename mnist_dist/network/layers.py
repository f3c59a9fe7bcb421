"""Layers that give the same numbers on any number of replicas, where Keras's own don't."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.network.row_positions import RowPositions

Statistics: TypeAlias = dict[str, tf.Tensor]
"""Name of a moving statistic -> this micro-batch's value of it, times its real examples."""


class Layer(Protocol):
    """A Keras layer with a kernel, with or without a bias."""

    kernel: keras.Variable
    bias: keras.Variable | None


class BatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015) over the real rows of all replicas.

    Keras's own layer doesn't synchronise replicas when it gets a mask, and fails on a replica
    without rows. Mean and variance are of the micro-batch over all replicas. No tensor is used more
    than twice, because TensorFlow adds a gradient of three terms in changing order.

    Attributes:
        variables: name -> Keras variable [channels].
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

    def __call__(
        self,
        x: Sequence[tf.Tensor],
        rows: Sequence[RowPositions],
        statistics: Statistics,
        each: Callable[..., list[tf.Tensor]],
    ) -> list[tf.Tensor]:
        """Normalises in the dtype of the statistics; in training adds to `statistics`.

        Args:
            x: each branch's input, dtype [rows, ..., channels].
            rows: each branch's rows; empty for inference.
            statistics: gets the batch's statistics, which are the same for all branches.
            each: calls a function for each branch, in that branch's scope.
        """
        y = [tf.cast(part, self._dtype) for part in x]
        moments = [(self.mean.value, self.variance.value)] * len(y)
        if rows:
            moments, examples = self._moments(y, rows)
            mean, variance = moments[0]
            statistics[f"{self._name}/moving_mean"] = mean * examples
            statistics[f"{self._name}/moving_variance"] = variance * examples
        return [tf.cast(part, x[0].dtype) for part in each(self._normalised, y, moments)]

    def _normalised(self, y: tf.Tensor, moments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        mean, variance = moments
        wide = [1, -1, 1, 1] if self._flat(y) else [1] * (len(y.shape) - 1) + [-1]
        scale = self.scale.value * tf.math.rsqrt(variance + self.epsilon)
        return y * tf.reshape(scale, wide) + tf.reshape(self.offset.value - mean * scale, wide)

    def _moments(
        self, y: Sequence[tf.Tensor], rows: Sequence[RowPositions]
    ) -> tuple[list[tuple[tf.Tensor, tf.Tensor]], tf.Tensor]:
        """Each branch's mean and variance over all real rows, and the number of those.

        The values are equal, but each branch has its own tensors, to be differentiated by itself.
        """
        totals = rows[0].totals([self._sums(*pair) for pair in zip(y, rows, strict=True)])
        first = y[0]
        channels = first.shape[1 if self._flat(first) else -1]
        pixels = tf.size(first[0], tf.int32) // channels
        moments = []
        for total in totals:
            examples = total[-1]
            # A micro-batch may be empty everywhere, at the end of an epoch.
            values = tf.maximum(examples * tf.cast(pixels, first.dtype), 1.0)
            mean, squares = tf.split(total[:-1] / values, 2)
            moments.append((mean, tf.maximum(squares - tf.square(mean), 0.0)))
        return moments, totals[0][-1]

    def _sums(self, y: tf.Tensor, rows: RowPositions) -> tf.Tensor:
        """Sums of values and of squares by channel over the real rows, and the number of rows."""
        # An alias, so that no tensor is used three times.
        sums = _row_sums(tf.identity(y), [2, 3] if self._flat(y) else range(1, len(y.shape) - 1))
        real = tf.reshape(rows.mask(y.shape[0], y.dtype), [-1] + [1] * (len(y.shape) - 1))
        totals = [tf.reshape(tf.reduce_sum(part * real, 0), [-1]) for part in sums]
        return tf.concat([*totals, tf.cast(tf.stack([rows.real]), y.dtype)], 0)

    def _flat(self, y: tf.Tensor) -> bool:
        return self._channels_first and len(y.shape) == 4


def _row_sums(y: tf.Tensor, axes: Sequence[int]) -> Sequence[tf.Tensor]:
    """Each row's sums of values and of squares over some axes; those axes keep length 1.

    Its gradient reads memory twice; TensorFlow's own would read it seven times.
    """

    @tf.custom_gradient
    def sums(y: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., tf.Tensor]]:
        def gradient(of_sum: tf.Tensor, of_squares: tf.Tensor) -> tf.Tensor:
            return y * (2.0 * of_squares) + of_sum

        return [tf.reduce_sum(part, axes, True) for part in (y, tf.square(y))], gradient

    return sums(y)


def max_pool(x: tf.Tensor, data_format: str) -> tf.Tensor:
    """The largest value of each 2x2 square; an odd last row or column is padded."""
    return tf.nn.max_pool2d(x, 2, 2, "SAME", "NCHW" if data_format == "channels_first" else "NHWC")


def residual_add(y: tf.Tensor, shortcut: tf.Tensor) -> tf.Tensor:
    """The sum of a block's output and its shortcut (He et al. 2016), in the block's dtype."""
    return y + tf.cast(shortcut, y.dtype)


def dropout(x: tf.Tensor, rate: float, rows: RowPositions, stream: int) -> tf.Tensor:
    """Inverted dropout (Srivastava et al. 2014); a row's mask doesn't depend on its replica.

    Args:
        x: dtype [rows, ...].
        rate: share of the values set to zero, 0 to less than 1.
        rows: positions of the rows in the global batch.
        stream: number of the layer's random numbers within a step, 0..255.
    """
    columns = x.shape[1:].num_elements()
    kept = tf.reshape(rows.uniform(x.shape[0], columns, stream), x.shape) >= rate
    return tf.where(kept, x * tf.cast(1.0 / (1.0 - rate), x.dtype), tf.zeros([], x.dtype))
