"""A user's own network as a table: parameters and operations of each layer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.network.keras_graph import Values
from mnist_dist.network.own_file import Row


def table(
    forward: Callable[[tf.Tensor, Callable[[Any, Any], None]], tf.Tensor],
    images: tf.TensorSpec,
    parameters: Callable[[Any], int],
    check: Callable[[Any, list[tf.Operation]], None],
) -> list[Row]:
    """Traces the forward pass once: a row for each layer with parameters or operations.

    Args:
        forward: computes logits; calls its second argument with each layer and its outputs.
        images: shape and dtype of its input.
        parameters: the number of a layer's parameters.
        check: called with each layer and the TensorFlow operations that it adds to the graph.
    """
    found: list[Row] = []
    counted: set[int] = set()
    seen = 0

    def row(layer: Any, outputs: Any) -> None:
        nonlocal seen
        operations = tf.compat.v1.get_default_graph().get_operations()
        added, seen = operations[seen:], len(operations)
        check(layer, added)
        first = outputs if isinstance(outputs, Values) else outputs[0]
        own = 0 if id(layer) in counted else parameters(layer)
        counted.add(id(layer))
        flops = sum(map(_flops, added))
        if own or flops:
            shape = tuple(first.tensors[0].shape[1:])
            found.append(Row(layer.name, shape, own, flops))

    traced = tf.function(lambda x: forward(x, row), autograph=False)
    traced.get_concrete_function(images)
    return found


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
