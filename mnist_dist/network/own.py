"""A user's own network, with the built-in one's guarantee: the same images give the same bits."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.layers import BatchNormalization, Dropout
from mnist_dist.network import keras_graph, own_checks, own_table
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.branch import Branch, in_each, positions
from mnist_dist.network.keras_graph import Values
from mnist_dist.network.keras_model import batch_normalization
from mnist_dist.network.layers import BatchNorm, Statistics, dropout
from mnist_dist.network.model import Network
from mnist_dist.network.own_file import OwnArchitecture
from mnist_dist.network.row_positions import RowPositions

FIRST_STREAM = 2
"""Random numbers of the first dropout layer; 0 is the built-in network's, 1 augmentation's."""

MOST_DROPOUTS = 254


class OwnNetwork:
    """Logits from images by a user's Keras model. Make it in the strategy's scope.

    Attributes:
        variables: name -> Keras variable.
        trainable: the names of the variables that gradients are taken of.
        dtype: of the logits, losses and sums: "float32", or "float64".
        head: the last layer with weights; its variables' names begin with it.
        stages: the network as a table.

    Raises:
        UsageError: a file, a function or a layer that can't keep the promises, by its name.
    """

    def __init__(self, architecture: OwnArchitecture) -> None:
        self.architecture = architecture
        self.dtype = "float64" if architecture.precision == "float64" else "float32"
        keras_graph.add_gradients_in_order()
        self._model = keras_graph.build(architecture)
        layers = keras_graph.layers(self._model)
        for layer in layers:
            own_checks.check_layer(architecture, layer)
        weights = [
            (f"{layer.name}/{keras_graph.tail(v)}", v) for layer in layers for v in layer.variables
        ]
        self.trainable = [name for name, _ in weights]
        self.head = weights[-1][0].partition("/")[0] if weights else ""
        self._norms: dict[int, BatchNorm] = {}
        self._streams: dict[int, int] = {}
        self.variables: dict[str, keras.Variable] = {}
        for layer in layers:
            if isinstance(layer, BatchNormalization):
                norm = BatchNorm(layer.name, layer.channels, False, self.dtype)
                self._norms[id(layer)] = norm
                self.trainable += norm.trainable
                weights += norm.variables.items()
            elif isinstance(layer, Dropout):
                self._streams[id(layer)] = FIRST_STREAM + len(self._streams)
        for name, variable in weights:
            if name in self.variables:
                own_checks.refuse(
                    architecture, f"two variables are named {name}; give their layers other names"
                )
            self.variables[name] = variable
        if len(self._streams) > MOST_DROPOUTS:
            own_checks.refuse(
                architecture, f"more than {MOST_DROPOUTS} layers of Dropout; leave some out"
            )
        spec = tf.TensorSpec([1, *architecture.image_shape], self.dtype)
        check = functools.partial(own_checks.check_operations, architecture)
        self.stages = own_table.table(self._forward, spec, self._parameters, check)
        own_checks.check_initial_weights(architecture, self._model)
        own_checks.check_rows(architecture, self.dtype, self._forward)

    def __call__(
        self, images: tf.Tensor, rows: RowPositions | None = None
    ) -> tuple[tf.Tensor, Statistics]:
        """The forward pass, as of the built-in network."""
        logits, statistics = self.side_by_side([Branch(images, rows)])
        return logits[0], statistics

    def side_by_side(self, branches: Sequence[Branch]) -> tuple[list[tf.Tensor], Statistics]:
        """The forward pass of several branches, which share nothing but batch statistics.

        Returns:
            Each branch's logits, dtype [rows, classes], and the batch statistics.
        """
        statistics: Statistics = {}
        logits = self._compute(branches, statistics)
        return [tf.cast(x, self.dtype) for x in logits.tensors], statistics

    def keras_model(self, weights: dict[str, np.ndarray], precision: str = "") -> keras.Model:
        """The same network in Keras's own layers, for exports.

        Args:
            weights: name -> array, for each of `variables`.
            precision: of the layers; empty for that of the run.
        """
        precision = precision or self.architecture.precision
        model = keras_graph.build(dataclasses.replace(self.architecture, precision=precision))

        def replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
            if isinstance(layer, Dropout):
                return keras.layers.Dropout(layer.rate, dtype=layer.dtype_policy, name=layer.name)
            if isinstance(layer, BatchNormalization):
                return batch_normalization(layer.name, precision)
            return layer.__class__.from_config(layer.get_config())

        plain = keras.models.clone_model(model, clone_function=replaced, recursive=True)
        suffixes = "scale", "offset", "moving_mean", "moving_variance"
        for layer in keras_graph.layers(plain):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights([weights[f"{layer.name}/{suffix}"] for suffix in suffixes])
            elif not isinstance(layer, keras.layers.Dropout):
                for variable in layer.variables:
                    variable.assign(weights[f"{layer.name}/{keras_graph.tail(variable)}"])
        return plain

    def _compute(
        self,
        branches: Sequence[Branch],
        statistics: Statistics,
        computed: Callable[[Any, Any], None] | None = None,
    ) -> Values:
        """Computes the logits; `computed` gets each operation and its outputs."""
        rows = positions(branches)

        def each(function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
            return in_each(branches, function, *columns)

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(operation, BatchNormalization):
                norm = self._norms[id(operation)]
                outputs = Values(norm(args[0].tensors, rows, statistics, each))
            elif isinstance(operation, Dropout):
                outputs = args[0]
                if rows and operation.rate:
                    stream = self._streams[id(operation)]
                    pairs = zip(outputs.tensors, rows, strict=True)
                    outputs = Values([dropout(x, operation.rate, r, stream) for x, r in pairs])
            else:
                outputs = keras_graph.apply(operation, each, args, kwargs)
            if computed:
                computed(operation, outputs)
            return outputs

        return keras_graph.compute(self._model, Values([b.images for b in branches]), call)

    def _forward(self, images: tf.Tensor, note: Callable[[Any, Any], None]) -> tf.Tensor:
        """Logits for inference; `note` gets each layer and its outputs."""
        return self._compute([Branch(images)], {}, note).tensors[0]

    def _parameters(self, layer: Any) -> int:
        variables = getattr(layer, "variables", [])
        if id(layer) in self._norms:
            variables = self._norms[id(layer)].variables.values()
        return sum(int(np.prod(variable.shape)) for variable in variables)


AnyNetwork: TypeAlias = Network | OwnNetwork


def build(architecture: Architecture | OwnArchitecture) -> AnyNetwork:
    """The network of an architecture. Call it in the strategy's scope."""
    if isinstance(architecture, OwnArchitecture):
        return OwnNetwork(architecture)
    return Network(architecture)
