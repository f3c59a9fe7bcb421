"""The notebook's network and its variants: the variables, and logits from images."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.network.architecture import Architecture, Stage
from mnist_dist.network.branch import Branch
from mnist_dist.network.branch_layers import BranchLayers, BuiltLayers
from mnist_dist.network.forward import forward
from mnist_dist.network.keras_model import keras_model
from mnist_dist.network.layers import BatchNorm, Layer, Statistics
from mnist_dist.network.row_positions import RowPositions


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
        self._built = BuiltLayers({}, {}, {})
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
        layers = BranchLayers(self.architecture, self._built, branches)
        return forward(self.architecture, layers, layers.images()), layers.statistics

    def _build(self, stage: Stage) -> None:
        """Makes a layer, its variables, and its normalisation if it has one."""
        layer = self._conv2d(stage) if len(stage.kernel) == 4 else self._dense(stage)
        self._built.layers[stage.name] = layer
        bias = layer.bias
        if bias is None:
            bias = keras.Variable("zeros", [stage.shape[-1]], layer.kernel.dtype)
            self._built.late_biases[stage.name] = bias
        added = {f"{stage.name}/kernel": layer.kernel, f"{stage.name}/bias": bias}
        self.trainable += list(added)
        if stage.normed:
            norm = BatchNorm(
                stage.name, stage.shape[-1], self.architecture.channels_first, self.dtype
            )
            self._built.norms[stage.name] = norm
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
            use_bias=self.architecture.residual or self.architecture.batch_norm,
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
            seed=self.architecture.seed * 1000 + len(self._built.layers)
        )
        return lambda shape, dtype=None: tf.cast(glorot(shape, "float32"), dtype)
