"""A user's own network, with the built-in one's guarantee: the same images give the same bits."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.errors import UsageError
from mnist_dist.layers import BatchNormalization, Dropout
from mnist_dist.network import keras_graph
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.branch import Branch, in_each, positions
from mnist_dist.network.keras_graph import Values
from mnist_dist.network.keras_model import batch_normalization
from mnist_dist.network.layers import BatchNorm, Statistics, dropout
from mnist_dist.network.model import Network
from mnist_dist.network.own_file import OwnArchitecture, Row
from mnist_dist.network.row_positions import RowPositions

FIRST_STREAM = 2
"""Random numbers of the first dropout layer; 0 is the built-in network's, 1 augmentation's."""

MOST_DROPOUTS = 254
STAND_INS = {"Dropout": "Dropout", "BatchNormalization": "BatchNormalization"}
STATELESS = ("VarHandleOp", "ReadVariableOp", "Placeholder", "ResourceGather")
"""Operations that TensorFlow calls stateful although they change nothing."""


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
        layers = _layers(self._model)
        for layer in layers:
            self._check(layer)
        weights = [(f"{layer.name}/{_tail(v)}", v) for layer in layers for v in layer.variables]
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
                self._refuse(f"two variables are named {name}; give their layers other names")
            self.variables[name] = variable
        if len(self._streams) > MOST_DROPOUTS:
            self._refuse(f"more than {MOST_DROPOUTS} layers of Dropout; leave some out")
        self.stages = self._table()
        self._check_initial_weights()
        self._check_rows()

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
        for layer in _layers(plain):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights([weights[f"{layer.name}/{suffix}"] for suffix in suffixes])
            elif not isinstance(layer, keras.layers.Dropout):
                for variable in layer.variables:
                    variable.assign(weights[f"{layer.name}/{_tail(variable)}"])
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

    def _refuse(self, why: str) -> None:
        raise UsageError(f"{self.architecture.flag}: {why}")

    def _check(self, layer: keras.layers.Layer) -> None:
        """Raises UsageError for a layer that would break the promises."""
        kind = type(layer).__name__
        name = f"layer {layer.name} ({kind})"
        if type(layer).__module__.startswith("keras.") and kind in STAND_INS:
            self._refuse(
                f"{name} gives other numbers on other numbers of replicas; take "
                f"mnist_dist.layers.{STAND_INS[kind]}"
            )
        fixed = set(map(id, layer.trainable_variables))
        for variable in layer.variables:
            if id(variable) not in fixed:
                what = "draws random numbers" if "seed" in variable.path else "has state"
                self._refuse(
                    f"{name} {what} ({_tail(variable)}), which would differ between replicas; "
                    "leave it out, or take a layer of mnist_dist.layers"
                )
            if variable.constraint is not None:
                self._refuse(f"{name} has a constraint, which no update keeps; leave it out")
        if layer.losses:
            self._refuse(f"{name} adds to the loss; leave that out, or give --weight_decay")

    def _table(self) -> list[Row]:
        """A row for each layer with parameters or operations; refuses operations with state."""
        found: list[Row] = []
        counted: set[int] = set()
        seen = 0

        def row(operation: Any, outputs: Any) -> None:
            nonlocal seen
            operations = tf.compat.v1.get_default_graph().get_operations()
            added, seen = operations[seen:], len(operations)
            for op in added:
                if op.op_def.is_stateful and op.type not in STATELESS:
                    self._refuse(
                        f"layer {operation.name} ({type(operation).__name__}) has state or draws "
                        f"random numbers (TensorFlow's {op.type}); leave it out"
                    )
            first = outputs if isinstance(outputs, Values) else outputs[0]
            own = 0 if id(operation) in counted else _parameters(operation, self._norms)
            counted.add(id(operation))
            flops = sum(map(_flops, added))
            if own or flops:
                shape = tuple(first.tensors[0].shape[1:])
                found.append(Row(operation.name, shape, own, flops))

        def forward(images: tf.Tensor) -> tf.Tensor:
            return self._compute([Branch(images)], {}, row).tensors[0]

        spec = tf.TensorSpec([1, *self.architecture.image_shape], self.dtype)
        tf.function(forward, autograph=False).get_concrete_function(spec)
        return found

    def _check_initial_weights(self) -> None:
        """Raises UsageError if a second call of the function gives other weights."""
        again = keras_graph.build(self.architecture)
        for layer, other in zip(_layers(self._model), _layers(again), strict=True):
            for variable, second in zip(layer.variables, other.variables, strict=True):
                if not np.array_equal(variable.numpy(), second.numpy()):
                    self._refuse(
                        f"layer {layer.name} begins with other weights each time; initialize it "
                        "by a Keras initializer"
                    )

    def _check_rows(self) -> None:
        """Raises UsageError for an operation that mixes the images of a batch."""
        images = np.random.default_rng(0).random((5, *self.architecture.image_shape))
        batches = [tf.constant(images[rows], self.dtype) for rows in ([0, 1, 2], [0, 3, 4])]
        outputs: list[list[tuple[Any, tf.Tensor]]] = [[], []]
        for batch, into in zip(batches, outputs, strict=True):

            def note(operation: Any, values: Any, into: list[Any] = into) -> None:
                first = values if isinstance(values, Values) else values[0]
                into.append((operation, first.tensors[0]))

            self._compute([Branch(batch)], {}, note)
        for (operation, one), (_, two) in zip(*outputs, strict=True):
            rows = one.shape[0] // 3 if one.shape and one.shape[0] % 3 == 0 else 0
            a, b = (np.asarray(tf.cast(x[:rows], "float64")) for x in (one, two))
            if np.abs(a - b).max(initial=0.0) > 0.01 * (1e-3 + np.abs(a).max(initial=0.0)):
                self._refuse(
                    f"layer {operation.name} ({type(operation).__name__}) mixes the images of a "
                    "batch, which are other ones on other numbers of replicas; leave it out"
                )


AnyNetwork: TypeAlias = Network | OwnNetwork


def build(architecture: Architecture | OwnArchitecture) -> AnyNetwork:
    """The network of an architecture. Call it in the strategy's scope."""
    if isinstance(architecture, OwnArchitecture):
        return OwnNetwork(architecture)
    return Network(architecture)


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of models in it, each once, in order."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        inner = _layers(layer) if isinstance(layer, keras.Model) else [layer]
        found |= {id(one): one for one in inner}
    return list(found.values())


def _tail(variable: keras.Variable) -> str:
    """A variable's path within its layer, such as kernel, or query/kernel."""
    return str(variable.path).partition("/")[2] or str(variable.name)


def _parameters(operation: Any, norms: dict[int, BatchNorm]) -> int:
    variables = getattr(operation, "variables", [])
    if id(operation) in norms:
        variables = norms[id(operation)].variables.values()
    return sum(int(np.prod(variable.shape)) for variable in variables)


def _flops(op: tf.Operation) -> int:
    """Operations of a matrix product, an einsum or a convolution; a multiply-add is two."""
    if op.type not in ("MatMul", "BatchMatMulV2", "Einsum", "Conv2D", "DepthwiseConv2dNative"):
        return 0
    first, second = (value.shape for value in op.inputs[:2])
    outputs = op.outputs[0].shape.num_elements()
    if op.type == "Conv2D":
        return 2 * outputs * second[:3].num_elements()
    if op.type == "DepthwiseConv2dNative":
        return 2 * outputs * second[:2].num_elements()
    if op.type == "Einsum":
        inputs, _, output = op.get_attr("equation").decode().partition("->")
        left, right = inputs.split(",")
        sizes = dict(zip(left + right, [*first, *second], strict=True))
        return 2 * outputs * int(np.prod([sizes[i] for i in sizes if i not in output]))
    return 2 * outputs * first[-2 if op.type == "MatMul" and op.get_attr("transpose_a") else -1]
