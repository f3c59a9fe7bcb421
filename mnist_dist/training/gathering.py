"""Each replica gathers the numbers of all others, and adds them by itself.

A ring all-reduce over n replicas takes 2 (n - 1) messages one after another, this n - 1. Between
two workers that compute for 10 ms, the time that a message needs counts more than its bytes.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

GROUP_KEY = 1 << 30
"""Of the replicas that gather; TensorFlow numbers its own groups from 1."""


def packed(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns all numbers of tensors of one dtype as one vector."""
    return tf.concat([tf.reshape(value, [-1]) for value in values], 0)


def gathered(numbers: tf.Tensor) -> tf.Tensor:
    """Gathers a vector of each replica, on workers of one CPU device each: [replicas, n] of [n].

    Call it at most once in a step: two vectors of the same size would have the same key.
    `ReplicaContext.all_gather` isn't used, since it gathers the shapes as well.

    Args:
        numbers: float32 or float64.
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    [size] = numbers.shape
    found = tf.raw_ops.CollectiveGatherV2(
        input=numbers,
        group_size=replicas,
        group_key=GROUP_KEY,
        instance_key=size,
        ordering_token=[],
    )
    return tf.reshape(found, [replicas, size])


def unpacked(
    together: tf.Tensor,
    values: Sequence[tf.Tensor],
    parts: Sequence[tf.Tensor],
    add: Callable[[Sequence[tf.Tensor]], tf.Tensor],
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Returns the sums of `values` over the replicas, and the rows of all replicas' `parts`.

    Args:
        together: [replicas, n], the `packed([*values, *parts])` of each replica.
        values: this replica's.
        parts: this replica's; those of all are joined along the first axis.
        add: sums a tensor of each replica.
    """
    sizes = [value.shape.num_elements() for value in (*values, *parts)]
    summed_sizes, part_sizes = sizes[: len(values)], sizes[len(values) :]
    split = sum(summed_sizes)
    pieces = tf.split(add(tf.unstack(together[:, :split])), summed_sizes)
    sums = [tf.reshape(piece, v.shape) for piece, v in zip(pieces, values, strict=True)]
    columns = tf.split(together[:, split:], part_sizes, 1) if parts else []
    rows = [tf.reshape(c, [-1, *p.shape[1:]]) for c, p in zip(columns, parts, strict=True)]
    return sums, rows
