"""Refuses layers of a user's own network that would break the promises on replicas and bits."""

from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.errors import UsageError
from mnist_dist.network import keras_graph
from mnist_dist.network.keras_graph import Values
from mnist_dist.network.own_file import OwnArchitecture

STAND_INS = ("Dropout", "BatchNormalization")
"""Keras's layers that mnist_dist.layers has a layer of the same name for."""

STATELESS = ("VarHandleOp", "ReadVariableOp", "Placeholder", "ResourceGather")
"""Operations that TensorFlow calls stateful although they change nothing."""


def refuse(architecture: OwnArchitecture, why: str) -> NoReturn:
    """Raises UsageError, which begins with the flag."""
    raise UsageError(f"{architecture.flag}: {why}")


def check_layer(architecture: OwnArchitecture, layer: keras.layers.Layer) -> None:
    """Raises UsageError for a layer with state, a constraint or a loss of its own."""
    kind = type(layer).__name__
    name = f"layer {layer.name} ({kind})"
    if type(layer).__module__.startswith("keras.") and kind in STAND_INS:
        refuse(
            architecture,
            f"{name} gives other numbers on other numbers of replicas; take "
            f"mnist_dist.layers.{kind}",
        )
    fixed = set(map(id, layer.trainable_variables))
    for variable in layer.variables:
        if id(variable) not in fixed:
            what = "draws random numbers" if "seed" in variable.path else "has state"
            refuse(
                architecture,
                f"{name} {what} ({keras_graph.tail(variable)}), which would differ between "
                "replicas; leave it out, or take a layer of mnist_dist.layers",
            )
        if variable.constraint is not None:
            refuse(architecture, f"{name} has a constraint, which no update keeps; leave it out")
    if layer.losses:
        refuse(architecture, f"{name} adds to the loss; leave that out, or give --weight_decay")


def check_operations(
    architecture: OwnArchitecture, layer: Any, operations: list[tf.Operation]
) -> None:
    """Raises UsageError if one of the TensorFlow operations of a layer has state."""
    for operation in operations:
        if operation.op_def.is_stateful and operation.type not in STATELESS:
            refuse(
                architecture,
                f"layer {layer.name} ({type(layer).__name__}) has state or draws random numbers "
                f"(TensorFlow's {operation.type}); leave it out",
            )


def check_initial_weights(architecture: OwnArchitecture, model: keras.Model) -> None:
    """Raises UsageError if a second call of the user's function gives other weights."""
    again = keras_graph.layers(keras_graph.build(architecture))
    for layer, other in zip(keras_graph.layers(model), again, strict=True):
        for variable, second in zip(layer.variables, other.variables, strict=True):
            if not np.array_equal(variable.numpy(), second.numpy()):
                refuse(
                    architecture,
                    f"layer {layer.name} begins with other weights each time; initialize it by a "
                    "Keras initializer",
                )


def check_rows(
    architecture: OwnArchitecture,
    dtype: str,
    forward: Callable[[tf.Tensor, Callable[[Any, Any], None]], tf.Tensor],
) -> None:
    """Raises UsageError for a layer that mixes the images of a batch.

    Two batches that share their first image are computed: the first row of each layer's outputs
    must agree.

    Args:
        architecture: the network.
        dtype: of the images.
        forward: computes logits; calls its second argument with each layer and its outputs.
    """
    images = np.random.default_rng(0).random((5, *architecture.image_shape))
    batches = [tf.constant(images[rows], dtype) for rows in ([0, 1, 2], [0, 3, 4])]
    outputs: list[list[tuple[Any, tf.Tensor]]] = [[], []]
    for batch, into in zip(batches, outputs, strict=True):

        def note(layer: Any, values: Any, into: list[Any] = into) -> None:
            first = values if isinstance(values, Values) else values[0]
            into.append((layer, first.tensors[0]))

        forward(batch, note)
    for (layer, one), (_, two) in zip(*outputs, strict=True):
        rows = one.shape[0] // 3 if one.shape and one.shape[0] % 3 == 0 else 0
        a, b = (np.asarray(tf.cast(x[:rows], "float64")) for x in (one, two))
        if np.abs(a - b).max(initial=0.0) > 0.01 * (1e-3 + np.abs(a).max(initial=0.0)):
            refuse(
                architecture,
                f"layer {layer.name} ({type(layer).__name__}) mixes the images of a batch, which "
                "are other ones on other numbers of replicas; leave it out",
            )
