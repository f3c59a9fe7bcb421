"""The notebook's network and its variants: logits from images."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from mnist_dist.errors import UsageError
from mnist_dist.layers import BatchNorm, Layer, Statistics, max_pool, residual_add
from mnist_dist.rows import Rows

DROPOUT_STREAM = 0


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What decides a network's shape.

    Attributes:
        image_shape: (height, width, channels).
        num_classes: number of logits.
        conv_filters: filters of each convolution; each is followed by a 2x2 max-pool.
        kernel_size: side of the convolutions' kernels, in pixels.
        dense_units: units of each hidden dense layer.
        dropout: part of the last hidden units dropped in training.
        batch_norm: normalise after each convolution and hidden dense layer.
        residual: a block of two same-padded convolutions and a shortcut for each convolution.
        channels_first: layout of the images inside the network.
        precision: Keras's name of the layers' arithmetic.
        seed: decides the initial weights.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    conv_filters: tuple[int, ...] = (32, 64)
    kernel_size: int = 5
    dense_units: tuple[int, ...] = (1024,)
    dropout: float = 0.5
    batch_norm: bool = False
    residual: bool = False
    channels_first: bool = False
    precision: str = "float32"
    seed: int = 0


class Stage(NamedTuple):
    """One row of the network's description."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    flops: int


class Network:
    """Logits from images. Make it in the strategy's scope.

    Attributes:
        variables: name -> Keras variable, the same names and shapes in any layout and precision.
        dtype: that of the variables, the logits, losses and reductions: float32, or float64.
        trainable: the names of those that gradients are taken of.
        stages: the network as a table, from the images to the logits.

    Raises:
        UsageError: the images are too small for the convolutions, naming the layer.
    """

    def __init__(self, what: Architecture) -> None:
        self.what = what
        self.variables: dict[str, keras.Variable] = {}
        self.trainable: list[str] = []
        self.stages: list[Stage] = []
        self.dtype = "float64" if what.precision == "float64" else "float32"
        self._format = "channels_first" if what.channels_first else "channels_last"
        self._norms: dict[str, BatchNorm] = {}
        self._layers: dict[str, keras.layers.Layer] = {}
        height, width, channels = what.image_shape
        for number, filters in enumerate(what.conv_filters, 1):
            height, width = self._build_conv(number, filters, (height, width, channels))
            channels = filters
        units = height * width * channels
        for number, width_after in enumerate(what.dense_units, 1):
            self._dense(f"dense{number}", units, width_after, what.precision)
            units = width_after
        # The last layer isn't of low precision: so neither are the logits, and it costs nothing.
        self._dense("logits", units, what.num_classes, self.dtype, norm=False)

    def __call__(self, images: tf.Tensor, rows: Rows | None = None) -> tuple[tf.Tensor, Statistics]:
        """The forward pass.

        Args:
            images: dtype [rows, height, width, channels], in 0..1.
            rows: what training needs to know of the rows; None for inference.

        Returns:
            The logits, dtype [rows, classes], and each normalisation's batch statistics.
        """
        statistics: Statistics = {}

        def normalise(name: str, x: tf.Tensor) -> tf.Tensor:
            if not self.what.batch_norm:
                return x
            return self._norms[name](x, rows, statistics)

        x = tf.transpose(images, [0, 3, 1, 2]) if self.what.channels_first else images
        for number in range(1, len(self.what.conv_filters) + 1):
            x = self._conv(f"conv{number}", x, normalise)
            x = max_pool(x, self._format)
        if self.what.channels_first:  # so that the dense weights fit both layouts
            x = tf.transpose(x, [0, 2, 3, 1])
        x = tf.reshape(x, [x.shape[0] or tf.shape(x)[0], -1])
        for number in range(1, len(self.what.dense_units) + 1):
            x = tf.nn.relu(normalise(f"dense{number}", self._layers[f"dense{number}"](x)))
        if rows is not None and self.what.dropout:
            x = _dropout(x, self.what.dropout, rows)
        return self._layers["logits"](x), statistics

    def _conv(self, name: str, x: tf.Tensor, normalise: Callable) -> tf.Tensor:
        y = normalise(name, self._layers[name](x))
        if not self.what.residual:
            return tf.nn.relu(y)
        y = self._layers[f"{name}b"](tf.nn.relu(y))
        y = normalise(f"{name}b", y)
        shortcut = self._layers.get(f"{name}s")
        return tf.nn.relu(residual_add(y, shortcut(x) if shortcut else x))

    def _build_conv(self, number: int, filters: int, shape: tuple[int, int, int]) -> list[int]:
        """Adds a convolution (or residual block) and its pool; returns the height and width."""
        size, name = self.what.kernel_size, f"conv{number}"
        padding = "same" if self.what.residual else "valid"
        height, width, channels = shape
        out = (height, width) if self.what.residual else (height - size + 1, width - size + 1)
        if min(out) < 1:
            given = ",".join(map(str, self.what.conv_filters))
            raise UsageError(
                f"--conv_filters={given}: convolution {number} gets a feature map of "
                f"{height}x{width}, less than its kernel of {size}x{size}; give fewer "
                "convolutions, a smaller --kernel_size, or --residual, which pads"
            )
        self._conv2d(name, channels, filters, size, padding, out)
        if self.what.residual:
            self._conv2d(f"{name}b", filters, filters, size, padding, out)
            if channels != filters:
                self._conv2d(f"{name}s", channels, filters, 1, padding, out, norm=False)
        pooled = [-(-side // 2) for side in out]
        self.stages.append(Stage(f"pool{number}", (*pooled, filters), 0, 0))
        return pooled

    def _conv2d(
        self,
        name: str,
        channels: int,
        filters: int,
        size: int,
        padding: str,
        out: tuple[int, int],
        norm: bool = True,
    ) -> None:
        layer = keras.layers.Conv2D(
            filters,
            size,
            padding=padding,
            data_format=self._format,
            kernel_initializer=self._initializer(),
            dtype=self.what.precision,
            name=name,
        )
        sides = (None, None)  # the kernel's shape doesn't depend on them
        shape = (None, channels, *sides) if self.what.channels_first else (None, *sides, channels)
        layer.build(shape)
        flops = 2 * size * size * channels * filters * out[0] * out[1]
        self._add(name, layer, (*out, filters), flops, norm)

    def _dense(self, name: str, before: int, units: int, dtype: str, norm: bool = True) -> None:
        layer = keras.layers.Dense(
            units, kernel_initializer=self._initializer(), dtype=dtype, name=name
        )
        layer.build((None, before))
        self._add(name, layer, (units,), 2 * before * units, norm)

    def _initializer(self) -> Callable[..., tf.Tensor]:
        """Glorot's uniform one (Glorot and Bengio 2010), each layer with a seed of its own.

        It draws in float32, so that all precisions begin with the same weights.
        """
        glorot = keras.initializers.GlorotUniform(seed=self.what.seed * 1000 + len(self._layers))
        return lambda shape, dtype=None: tf.cast(glorot(shape, "float32"), dtype)

    def _add(self, name: str, layer: Layer, shape: tuple[int, ...], flops: int, norm: bool) -> None:
        self._layers[name] = layer
        added = {f"{name}/kernel": layer.kernel, f"{name}/bias": layer.bias}
        self.trainable += list(added)
        if norm and self.what.batch_norm:
            self._norms[name] = BatchNorm(name, shape[-1], self.what.channels_first, self.dtype)
            self.trainable += list(self._norms[name].trainable)
            added |= self._norms[name].variables
        self.variables |= added
        parameters = sum(math.prod(variable.shape) for variable in added.values())
        self.stages.append(Stage(name, shape, parameters, flops))


def _dropout(x: tf.Tensor, rate: float, rows: Rows) -> tf.Tensor:
    """Inverted dropout (Srivastava et al. 2014), the same whichever replica has the row."""
    kept = rows.uniform(x.shape[0], x.shape[1], DROPOUT_STREAM) >= rate
    return tf.where(kept, x * tf.cast(1.0 / (1.0 - rate), x.dtype), tf.zeros([], x.dtype))
