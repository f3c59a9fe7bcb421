"""Sums up one binary tree over the shards, whichever replica has computed which of them."""

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from mnist_dist.training.gathering import gathered, packed, unpacked
from mnist_dist.training.reduction import Factors, Gradient, all_reduce, placed, sums_and_products


def whole(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum over all shards of all replicas, from a tensor for each of this replica's."""
    (found,), _ = _over_replicas([up_the_tree(values)])
    return found


def up_the_tree(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of 2^n tensors, neighbours first: (a + b) + (c + d)."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def of_shards(values: Sequence[Gradient]) -> Gradient:
    """The gradient of several shards: the tree's sum, or the factors of each, stacked."""
    if isinstance(values[0], Factors):
        return Factors(*(tf.stack(column) for column in zip(*values, strict=True)))
    return up_the_tree(values)


def joined(values: Sequence[Gradient]) -> Gradient:
    """The gradient of several groups of shards, from those of each by `of_shards`."""
    if isinstance(values[0], Factors):
        return Factors(*(tf.concat(column, 0) for column in zip(*values, strict=True)))
    return up_the_tree(values)


def summed(
    own: Sequence[Gradient], sums: tf.Tensor, gather: bool = False
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The sums of gradients and of `sums` over the shards of all replicas, in the tree's order.

    Args:
        own: this replica's gradients: a sum over its shards, or its shards' factors, [shards, rows,
            inputs or units].
        sums: over its shards.
        gather: see reduction.summed.

    Returns:
        Gradients and `sums`, the same on each replica, and the same bits with and without factors.
    """
    return sums_and_products(own, sums, partial(_over_replicas, gather=gather), _product)


def _product(factors: Factors, dtype: tf.DType) -> tf.Tensor:
    """The sum of the shards' products, each computed by itself as on the shard's own replica."""
    shards = zip(*map(tf.unstack, factors), strict=True)
    return up_the_tree([Factors(*shard).product(dtype) for shard in shards])


def _over_replicas(
    values: Sequence[tf.Tensor], parts: Sequence[tf.Tensor] = (), gather: bool = False
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The sums of `values` over all replicas, in the tree's order; and all replicas' `parts`.

    The parts of all replicas are joined along their first axis.
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return list(values), list(parts)
    if replicas == 2 and not gather:  # a + b equals b + a in all bits, in any all-reduce
        found = all_reduce([*values, *map(placed, parts)])
        wide = found[len(values) :]
        return found[: len(values)], [_flat(part) for part in wide]
    own = packed([*values, *parts])
    if gather:
        together = gathered(own)
    else:
        together = tf.reshape(context.all_gather(own, 0), [replicas, own.shape[0]])
    return unpacked(together, values, parts, up_the_tree)


def _flat(stacked: tf.Tensor) -> tf.Tensor:
    """[replicas, shards, ...] as [replicas * shards, ...]."""
    return tf.reshape(stacked, [-1, *stacked.shape[2:]])
