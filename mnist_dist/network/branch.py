"""Computes one shard's rows by separate operations, so that no other rows affect their bits."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mnist_dist.network.row_positions import RowPositions


class Branch(NamedTuple):
    """One shard, or one micro-batch, on its way through the network.

    Attributes:
        images: dtype [rows, height, width, channels], in 0..1.
        rows: their positions in the global batch, in training; None for inference.
        weights: pairs of a variable and the tensor that stands for it in this branch, so that the
            branch can be differentiated by itself; empty for the variables themselves.
        dense: has the names of kernels of dense layers; the forward pass stores each layer's
            inputs, in its compute dtype, and its outputs.
    """

    images: tf.Tensor
    rows: RowPositions | None = None
    weights: Sequence[tuple[keras.Variable, tf.Tensor]] = ()
    dense: dict[str, Sequence[tf.Tensor]] | None = None

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which layers that read a variable get this branch's tensor."""
        return keras.StatelessScope(self.weights) if self.weights else contextlib.nullcontext()


def in_each(branches: Sequence[Branch], function: Callable[..., Any], *columns: Any) -> list[Any]:
    """Calls a function once per branch, in that branch's scope.

    Args:
        branches: the branches.
        function: gets one value of each column.
        *columns: sequences with a value per branch.

    Returns:
        What the function returned for each branch.
    """
    found = []
    for branch, *values in zip(branches, *columns, strict=True):
        with branch.scope():
            found.append(function(*values))
    return found


def positions(branches: Sequence[Branch]) -> list[RowPositions]:
    """Each branch's rows in training; an empty list for inference."""
    return [branch.rows for branch in branches if branch.rows is not None]
