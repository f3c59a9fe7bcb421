"""The layers of the built-in network on several branches: the same images give the same bits."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mnist_dist.network import xla
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.branch import Branch, in_each, positions
from mnist_dist.network.layers import (
    BatchNorm,
    Statistics,
    dropout,
    max_pool,
    residual_add,
)

DROPOUT_STREAM = 0
"""Stream of the random numbers of dropout; augmentation has another."""

Tensors: TypeAlias = list[tf.Tensor]
"""A tensor for each branch."""


class BuiltLayers(NamedTuple):
    """Layers with their variables, by name.

    Attributes:
        layers: Keras's convolutions and dense layers.
        norms: batch normalisations.
        late_biases: the biases of convolutions that are added after the max-pool. Bias and ReLU
            are monotonic, so they commute with max: after the pool they give the same values with a
            quarter of the work.
    """

    layers: dict[str, keras.layers.Layer]
    norms: dict[str, BatchNorm]
    late_biases: dict[str, keras.Variable]


class BranchLayers:
    """Computes each layer on all branches, in operations of their own; see `forward.Layers`.

    Attributes:
        statistics: gets the batch statistics of each normalisation in training.
    """

    def __init__(
        self, architecture: Architecture, built: BuiltLayers, branches: Sequence[Branch]
    ) -> None:
        self.statistics: Statistics = {}
        self._architecture, self._branches = architecture, branches
        self._layers, self._norms, self._late_biases = built
        self._rows = positions(branches)
        self._compiled = bool(self._rows) and self._rows[0].compiled  # by XLA

    def images(self) -> Tensors:
        """The branches' images, in the layout of the convolutions."""
        xs = [branch.images for branch in self._branches]
        if self._architecture.channels_first:
            xs = [tf.transpose(x, [0, 3, 1, 2]) for x in xs]
        return xs

    def convolve(self, name: str, x: Tensors) -> Tensors:
        """A convolution; by XLA as one matrix product, which it compiles well."""
        return self._each(self._product(name) if self._compiled else self._layers[name], x)

    def normalise(self, name: str, x: Tensors) -> Tensors:
        """The batch normalisation after a layer; `x` itself if it has none."""
        if name not in self._norms:
            return x
        return self._norms[name](x, self._rows, self.statistics, self._each)

    def relu(self, x: Tensors) -> Tensors:
        """ReLU."""
        return [tf.nn.relu(one) for one in x]

    def add(self, name: str, x: Tensors, shortcut: Tensors) -> Tensors:  # noqa: ARG002
        """The sum that ends a residual block."""
        return [residual_add(*pair) for pair in zip(x, shortcut, strict=True)]

    def pool_relu(self, number: int, x: Tensors) -> Tensors:
        """A 2x2 max-pool, the bias if it is a late one, and ReLU."""
        layout = "channels_first" if self._architecture.channels_first else "channels_last"
        x = [xla.max_pool(one) if self._compiled else max_pool(one, layout) for one in x]
        if f"conv{number}" in self._late_biases:
            x = self._each(self._biased(f"conv{number}"), x)
        return self.relu(x)

    def flatten(self, x: Tensors) -> Tensors:
        """A row for each image, in one order for both layouts, so that the weights fit both."""
        if self._architecture.channels_first:
            x = [tf.transpose(one, [0, 2, 3, 1]) for one in x]
        return [tf.reshape(one, [one.shape[0] or tf.shape(one)[0], -1]) for one in x]

    def dense(self, name: str, x: Tensors) -> Tensors:
        """A dense layer; a branch that asks for its inputs and outputs gets them."""
        layer = self._layers[name]
        ys = self._each(layer, x)
        for branch, inputs, outputs in zip(self._branches, x, ys, strict=True):
            if branch.dense and f"{name}/kernel" in branch.dense:
                inputs = tf.cast(inputs, layer.compute_dtype)
                branch.dense[f"{name}/kernel"] = inputs, outputs
        return ys

    def dropout(self, x: Tensors) -> Tensors:
        """Dropout in training; else `x` itself."""
        rate = self._architecture.dropout
        if not (self._rows and rate):
            return x
        pairs = zip(x, self._rows, strict=True)
        return [dropout(one, rate, rows, DROPOUT_STREAM) for one, rows in pairs]

    def _each(self, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        return in_each(self._branches, function, *columns)

    def _product(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """A convolution as one matrix product."""
        layer = self._layers[name]

        def product(x: tf.Tensor) -> tf.Tensor:
            dtype = layer.compute_dtype
            kernel = tf.cast(layer.kernel.value, dtype)
            y = xla.convolution(tf.cast(x, dtype), kernel, self._architecture.residual)
            return y if layer.bias is None else y + tf.cast(layer.bias.value, dtype)

        return product

    def _biased(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """Adds a convolution's bias."""
        bias = self._late_biases[name]
        layout = "NCHW" if self._architecture.channels_first else "NHWC"
        return lambda x: tf.nn.bias_add(x, tf.cast(bias.value, x.dtype), layout)
