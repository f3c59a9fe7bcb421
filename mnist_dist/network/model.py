"""The notebook's network and its variants: logits from images."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.network import xla
from mnist_dist.network.architecture import Architecture, Stage
from mnist_dist.network.branch import Branch, in_each, positions
from mnist_dist.network.keras_model import keras_model
from mnist_dist.network.layers import (
    BatchNorm,
    Layer,
    Statistics,
    dropout,
    max_pool,
    residual_add,
)
from mnist_dist.network.row_positions import RowPositions

DROPOUT_STREAM = 0
"""Stream of the random numbers of dropout; augmentation has another."""


class Network:
    """Logits from images. Make it in the strategy's scope.

    Attributes:
        variables: name -> Keras variable, the same names and shapes in any layout and precision.
        trainable: the names of the variables that gradients are taken of.
        dtype: of the variables, logits, losses and sums: "float32", or "float64".
        head: the layer that computes the logits; its variables' names begin with it.
        stages: the network as a table, from the images to the logits.

    Raises:
        UsageError: the images are too small for the convolutions, naming the layer.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.stages = architecture.stages
        self.head = self.stages[-1].name
        self.variables: dict[str, keras.Variable] = {}
        self.trainable: list[str] = []
        self.dtype = "float64" if architecture.precision == "float64" else "float32"
        self._format = "channels_first" if architecture.channels_first else "channels_last"
        self._norms: dict[str, BatchNorm] = {}
        self._layers: dict[str, keras.layers.Layer] = {}
        self._late_bias = not (architecture.residual or architecture.batch_norm)
        for stage in self.stages:
            if stage.kernel:
                self._build(stage)

    def __call__(
        self, images: tf.Tensor, rows: RowPositions | None = None
    ) -> tuple[tf.Tensor, Statistics]:
        """The forward pass.

        Args:
            images: dtype [rows, height, width, channels], in 0..1.
            rows: positions of the rows in the global batch, in training; None for inference.

        Returns:
            The logits, dtype [rows, classes], and each normalisation's batch statistics.
        """
        logits, statistics = self.side_by_side([Branch(images, rows)])
        return logits[0], statistics

    def keras_model(self, weights: dict[str, np.ndarray], precision: str = "") -> keras.Model:
        """The same network in Keras's own layers, for exports: from pixels in 0..1 to logits.

        Args:
            weights: name -> array, for each of `variables`.
            precision: of the layers; empty for that of the run.
        """
        precision = precision or self.architecture.precision
        return keras_model(dataclasses.replace(self.architecture, precision=precision), weights)

    def side_by_side(self, branches: Sequence[Branch]) -> tuple[list[tf.Tensor], Statistics]:
        """The forward pass of several branches, which share nothing but batch statistics.

        They go through the network together, layer by layer, each in operations of its own.

        Returns:
            Each branch's logits, dtype [rows, classes], and the batch statistics.
        """
        statistics: Statistics = {}
        rows = positions(branches)

        def each(function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
            return in_each(branches, function, *columns)

        def normalise(name: str, xs: list[tf.Tensor]) -> list[tf.Tensor]:
            if name not in self._norms:
                return xs
            return self._norms[name](xs, rows, statistics, each)

        architecture = self.architecture
        compiled = bool(rows) and rows[0].compiled  # by XLA
        xs = [branch.images for branch in branches]
        if architecture.channels_first:
            xs = [tf.transpose(x, [0, 3, 1, 2]) for x in xs]
        for number in range(1, len(architecture.conv_filters) + 1):
            xs = self._conv(f"conv{number}", xs, each, normalise, compiled)
        if architecture.channels_first:  # so that the dense weights fit both layouts
            xs = [tf.transpose(x, [0, 2, 3, 1]) for x in xs]
        xs = [tf.reshape(x, [x.shape[0] or tf.shape(x)[0], -1]) for x in xs]
        for number in range(1, len(architecture.dense_units) + 1):
            xs = normalise(f"dense{number}", self._dense_layer(f"dense{number}", branches, xs))
            xs = [tf.nn.relu(x) for x in xs]
        if rows and architecture.dropout:
            rate = architecture.dropout
            xs = [dropout(x, rate, r, DROPOUT_STREAM) for x, r in zip(xs, rows, strict=True)]
        return self._dense_layer("logits", branches, xs), statistics

    def _dense_layer(
        self, name: str, branches: Sequence[Branch], xs: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """A dense layer; a branch that asks for its inputs and outputs gets them."""
        layer = self._layers[name]
        ys = in_each(branches, layer, xs)
        for branch, x, y in zip(branches, xs, ys, strict=True):
            if branch.dense and f"{name}/kernel" in branch.dense:
                branch.dense[f"{name}/kernel"] = tf.cast(x, layer.compute_dtype), y
        return ys

    def _conv(
        self,
        name: str,
        xs: list[tf.Tensor],
        each: Callable[..., list[tf.Tensor]],
        normalise: Callable[[str, list[tf.Tensor]], list[tf.Tensor]],
        compiled: bool,
    ) -> list[tf.Tensor]:
        """A convolution, or a residual block, and the max-pool after it."""

        def layer(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
            return self._product(name) if compiled else self._layers[name]

        ys = normalise(name, each(layer(name), xs))
        if self.architecture.residual:
            ys = each(layer(f"{name}b"), [tf.nn.relu(y) for y in ys])
            ys = normalise(f"{name}b", ys)
            if f"{name}s" in self._layers:
                xs = each(layer(f"{name}s"), xs)
            ys = [residual_add(*pair) for pair in zip(ys, xs, strict=True)]
        # Bias and ReLU are monotonic, so they commute with max: after the pool they give the same
        # values with a quarter of the work.
        ys = [xla.max_pool(y) if compiled else max_pool(y, self._format) for y in ys]
        if self._late_bias:
            ys = each(self._biased(name), ys)
        return [tf.nn.relu(y) for y in ys]

    def _product(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """A convolution's layer as one matrix product, which XLA compiles well."""
        layer = self._layers[name]

        def product(x: tf.Tensor) -> tf.Tensor:
            dtype = layer.compute_dtype
            kernel = tf.cast(layer.kernel.value, dtype)
            y = xla.convolution(tf.cast(x, dtype), kernel, self.architecture.residual)
            return y if layer.bias is None else y + tf.cast(layer.bias.value, dtype)

        return product

    def _biased(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """Adds a convolution's bias, where its layer doesn't."""
        bias = self.variables[f"{name}/bias"]
        layout = "NCHW" if self.architecture.channels_first else "NHWC"
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
            norm = BatchNorm(
                stage.name, stage.shape[-1], self.architecture.channels_first, self.dtype
            )
            self._norms[stage.name] = norm
            self.trainable += list(norm.trainable)
            added |= norm.variables
        self.variables |= added

    def _conv2d(self, stage: Stage) -> Layer:
        size, _, channels, filters = stage.kernel
        layer = keras.layers.Conv2D(
            filters,
            size,
            padding="same" if self.architecture.residual else "valid",
            data_format=self._format,
            use_bias=not self._late_bias,
            kernel_initializer=self._initializer(),
            dtype=self.architecture.precision,
            name=stage.name,
        )
        sides = (None, None)  # the kernel's shape doesn't depend on them
        shape = (
            (None, channels, *sides)
            if self.architecture.channels_first
            else (None, *sides, channels)
        )
        layer.build(shape)
        return layer

    def _dense(self, stage: Stage) -> Layer:
        before, units = stage.kernel
        # The logits are in full precision; the layer is so small that it costs nothing.
        dtype = self.dtype if stage.name == "logits" else self.architecture.precision
        layer = keras.layers.Dense(
            units, kernel_initializer=self._initializer(), dtype=dtype, name=stage.name
        )
        layer.build((None, before))
        return layer

    def _initializer(self) -> Callable[..., tf.Tensor]:
        """Glorot's uniform initializer (Glorot and Bengio 2010); each layer has its own seed.

        It draws in float32, so that all precisions start from the same weights.
        """
        glorot = keras.initializers.GlorotUniform(
            seed=self.architecture.seed * 1000 + len(self._layers)
        )
        return lambda shape, dtype=None: tf.cast(glorot(shape, "float32"), dtype)
