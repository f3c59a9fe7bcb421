"""The notebook's network and its variants: logits from images."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mnist_dist.network import xla
from mnist_dist.network.architecture import Architecture, Stage
from mnist_dist.network.layers import (
    BatchNorm,
    Layer,
    Statistics,
    max_pool,
    residual_add,
)
from mnist_dist.network.row_positions import RowPositions

DROPOUT_STREAM = 0


class Branch(NamedTuple):
    """Rows that go through the network by themselves.

    Attributes:
        images: dtype [rows, height, width, channels], in 0..1.
        rows: what training needs to know of them; None for inference.
        weights: variables and what stands for them in this branch, so that it can be
            differentiated by itself; empty for the variables themselves.
    """

    images: tf.Tensor
    rows: RowPositions | None = None
    weights: Sequence[tuple[keras.Variable, tf.Tensor]] = ()

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, a layer that reads one of the variables gets this branch's value."""
        return keras.StatelessScope(self.weights) if self.weights else contextlib.nullcontext()


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
        self.stages = what.stages
        self.variables: dict[str, keras.Variable] = {}
        self.trainable: list[str] = []
        self.dtype = "float64" if what.precision == "float64" else "float32"
        self._format = "channels_first" if what.channels_first else "channels_last"
        self._norms: dict[str, BatchNorm] = {}
        self._layers: dict[str, keras.layers.Layer] = {}
        self._late_bias = not (what.residual or what.batch_norm)
        for stage in self.stages:
            if stage.kernel:
                self._build(stage)

    def __call__(
        self, images: tf.Tensor, rows: RowPositions | None = None
    ) -> tuple[tf.Tensor, Statistics]:
        """The forward pass.

        Args:
            images: dtype [rows, height, width, channels], in 0..1.
            rows: what training needs to know of the rows; None for inference.

        Returns:
            The logits, dtype [rows, classes], and each normalisation's batch statistics.
        """
        logits, statistics = self.side_by_side([Branch(images, rows)])
        return logits[0], statistics

    def side_by_side(self, branches: Sequence[Branch]) -> tuple[list[tf.Tensor], Statistics]:
        """The forward pass of several branches, which have nothing in common but batch statistics.

        They go through the network together, layer by layer, each in operations of its own.

        Returns:
            Each branch's logits, dtype [rows, classes], and the batch statistics.
        """
        statistics: Statistics = {}
        rows = [branch.rows for branch in branches if branch.rows is not None]

        def each(function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
            found = []
            for branch, *values in zip(branches, *columns, strict=True):
                with branch.scope():
                    found.append(function(*values))
            return found

        def normalise(name: str, x: list[tf.Tensor]) -> list[tf.Tensor]:
            if name not in self._norms:
                return x
            return self._norms[name](x, rows, statistics, each)

        compiled = bool(rows) and rows[0].compiled  # by XLA
        x = [branch.images for branch in branches]
        if self.what.channels_first:
            x = [tf.transpose(part, [0, 3, 1, 2]) for part in x]
        for number in range(1, len(self.what.conv_filters) + 1):
            x = self._conv(f"conv{number}", x, each, normalise, compiled)
        if self.what.channels_first:  # so that the dense weights fit both layouts
            x = [tf.transpose(part, [0, 2, 3, 1]) for part in x]
        x = [tf.reshape(part, [part.shape[0] or tf.shape(part)[0], -1]) for part in x]
        for number in range(1, len(self.what.dense_units) + 1):
            x = normalise(f"dense{number}", each(self._layers[f"dense{number}"], x))
            x = [tf.nn.relu(part) for part in x]
        if rows and self.what.dropout:
            x = [_dropout(part, self.what.dropout, r) for part, r in zip(x, rows, strict=True)]
        return each(self._layers["logits"], x), statistics

    def _conv(
        self,
        name: str,
        x: list[tf.Tensor],
        each: Callable[..., list[Any]],
        normalise: Callable[[str, list[tf.Tensor]], list[tf.Tensor]],
        compiled: bool,
    ) -> list[tf.Tensor]:
        """A convolution, or a residual block, and the max-pool after it."""

        def layer(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
            return self._product(name) if compiled else self._layers[name]

        y = normalise(name, each(layer(name), x))
        if self.what.residual:
            y = each(layer(f"{name}b"), [tf.nn.relu(part) for part in y])
            y = normalise(f"{name}b", y)
            if f"{name}s" in self._layers:
                x = each(layer(f"{name}s"), x)
            y = [residual_add(*pair) for pair in zip(y, x, strict=True)]
        # Bias and ReLU leave the order of numbers, so the largest of a square may be chosen before
        # them: the same values, with a quarter of the work.
        y = [xla.max_pool(part) if compiled else max_pool(part, self._format) for part in y]
        if self._late_bias:
            y = each(self._biased(name), y)
        return [tf.nn.relu(part) for part in y]

    def _product(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """What a convolution's layer does, as XLA is good at it."""
        layer = self._layers[name]

        def product(x: tf.Tensor) -> tf.Tensor:
            dtype = layer.compute_dtype
            kernel = tf.cast(layer.kernel.value, dtype)
            y = xla.convolution(tf.cast(x, dtype), kernel, self.what.residual)
            return y if layer.bias is None else y + tf.cast(layer.bias.value, dtype)

        return product

    def _biased(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """What adds a convolution's bias, where its layer doesn't."""
        bias = self.variables[f"{name}/bias"]
        layout = "NCHW" if self.what.channels_first else "NHWC"
        return lambda x: tf.nn.bias_add(x, tf.cast(bias.value, x.dtype), layout)

    def _build(self, stage: Stage) -> None:
        """Makes a layer, its variables, and its normalisation if it has one."""
        layer = self._conv2d(stage) if len(stage.kernel) == 4 else self._dense(stage)
        self._layers[stage.name] = layer
        bias = layer.bias
        if bias is None:
            bias = keras.Variable("zeros", [stage.shape[-1]], layer.kernel.dtype)
        added = {f"{stage.name}/kernel": layer.kernel, f"{stage.name}/bias": bias}
        self.trainable += list(added)
        if stage.normed:
            norm = BatchNorm(stage.name, stage.shape[-1], self.what.channels_first, self.dtype)
            self._norms[stage.name] = norm
            self.trainable += list(norm.trainable)
            added |= norm.variables
        self.variables |= added

    def _conv2d(self, stage: Stage) -> Layer:
        size, _, channels, filters = stage.kernel
        layer = keras.layers.Conv2D(
            filters,
            size,
            padding="same" if self.what.residual else "valid",
            data_format=self._format,
            use_bias=not self._late_bias,
            kernel_initializer=self._initializer(),
            dtype=self.what.precision,
            name=stage.name,
        )
        sides = (None, None)  # the kernel's shape doesn't depend on them
        shape = (None, channels, *sides) if self.what.channels_first else (None, *sides, channels)
        layer.build(shape)
        return layer

    def _dense(self, stage: Stage) -> Layer:
        before, units = stage.kernel
        # The last layer isn't of low precision: so neither are the logits, and it costs nothing.
        dtype = self.dtype if stage.name == "logits" else self.what.precision
        layer = keras.layers.Dense(
            units, kernel_initializer=self._initializer(), dtype=dtype, name=stage.name
        )
        layer.build((None, before))
        return layer

    def _initializer(self) -> Callable[..., tf.Tensor]:
        """Glorot's uniform one (Glorot and Bengio 2010), each layer with a seed of its own.

        It draws in float32, so that all precisions begin with the same weights.
        """
        glorot = keras.initializers.GlorotUniform(seed=self.what.seed * 1000 + len(self._layers))
        return lambda shape, dtype=None: tf.cast(glorot(shape, "float32"), dtype)


def _dropout(x: tf.Tensor, rate: float, rows: RowPositions) -> tf.Tensor:
    """Inverted dropout (Srivastava et al. 2014), the same whichever replica has the row."""
    kept = rows.uniform(x.shape[0], x.shape[1], DROPOUT_STREAM) >= rate
    return tf.where(kept, x * tf.cast(1.0 / (1.0 - rate), x.dtype), tf.zeros([], x.dtype))
