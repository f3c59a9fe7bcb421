"""The same bits on any number of replicas: a step in fixed shards, and sums in one fixed order.

Rounding makes a sum depend on its order, and training carries the least difference on. So the
global batch is cut into as many shards as --shards says, whatever the number of replicas is. A
shard is computed by itself, in the same shapes and by single-threaded operations. All sums over
shards go up one binary tree: a replica has a whole subtree of it, and the replicas' sums are the
leaves of the rest. (Li et al. 2023, "EasyScale", does it for PyTorch with virtual workers.)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.network.model import Branch, Network
from mnist_dist.network.row_positions import RowPositions
from mnist_dist.training.loss_scale import LossScale
from mnist_dist.training.replica import (
    ReplicaStep,
    Settings,
    as_pixels,
    not_finite,
    scores,
    unscaled,
)


class _Part(NamedTuple):
    """What a subtree of shards comes to."""

    gradients: list[tf.Tensor]
    sums: tf.Tensor  # [2]: loss, right answers
    statistics: dict[str, tf.Tensor]


class Shards:
    """One replica's part of a step, in shards: the same work as Replica's, in another order."""

    def __init__(self, network: Network, loss_scale: LossScale, settings: Settings) -> None:
        self._network = network
        self._loss_scale = loss_scale
        self._settings = settings
        self._dtype = tf.as_dtype(network.dtype)
        self._trainable = [network.variables[name] for name in network.trainable]

    def step(self, block: Block, k: tf.Tensor, stop: tf.Tensor) -> ReplicaStep:
        """Step `k` of a block, whose micro-batches are this replica's shards.

        Args:
            block: this replica's.
            k: int32 scalar.
            stop: dtype scalar, 1 where this worker was told to stop.
        """
        total = tf.cast(block.total[k], self._dtype)
        mine = range(block.real.shape[1])
        together = len(mine) // self._settings.accumulate_steps
        parts: list[_Part] = []
        for first in mine[::together]:
            group = mine[first : first + together]
            # One group after another: that they don't stand in memory together is their use.
            with tf.control_dependencies(parts[-1].gradients if parts else []):
                images = [tf.identity(block.images[k, shard]) for shard in group]
            branches = [
                self._branch(part, block, k, shard)
                for part, shard in zip(images, group, strict=True)
            ]
            parts.append(self._part(branches, [block.labels[k, shard] for shard in group], total))
        columns = zip(*(part.gradients for part in parts), strict=True)
        gradients = [up_the_tree(values) for values in columns]
        unfit = not_finite(gradients, self._loss_scale)
        sums = tf.concat([up_the_tree([part.sums for part in parts]), [stop], unfit], 0)
        *gradients, sums = _over_replicas([*gradients, sums])
        gradients = unscaled(gradients, self._loss_scale, self._settings.clip_norm)
        statistics = {name: value / total for name, value in parts[0].statistics.items()}
        counts = tf.concat([tf.stack([total, total, 1.0]), tf.ones_like(unfit)], 0)
        return ReplicaStep(gradients, sums / counts, statistics)

    def _branch(self, images: tf.Tensor, block: Block, k: tf.Tensor, shard: int) -> Branch:
        """A shard with an alias of each weight, to be differentiated by."""
        rows = RowPositions(
            self._settings.seed,
            block.step[k],
            block.first[k, shard],
            block.real[k, shard],
            totals,
        )
        pixels = self._settings.augmentation.apply(as_pixels(images, self._dtype), rows)
        weights = [(variable, tf.identity(variable.value)) for variable in self._trainable]
        return Branch(pixels, rows, weights)

    def _part(
        self, branches: Sequence[Branch], labels: Sequence[tf.Tensor], total: tf.Tensor
    ) -> _Part:
        """Of shards side by side: gradients of their part of the mean loss, [loss, right] sums."""
        rows = [branch.rows for branch in branches if branch.rows is not None]
        aliases = [[value for _, value in branch.weights] for branch in branches]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(aliases)
            logits, statistics = self._network.side_by_side(branches)
            sums = [
                scores(*shard, self._settings.label_smoothing)
                for shard in zip(logits, labels, rows, strict=True)
            ]
            scaled = [self._loss_scale.up(loss / total) for loss, _ in sums]
        gradients = tape.gradient(scaled, aliases)
        return _Part(
            [up_the_tree(values) for values in zip(*gradients, strict=True)],
            up_the_tree([tf.stack(pair) for pair in sums]),
            statistics,
        )


def totals(parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The sum over all shards of all replicas, once for each of this replica's; differentiable."""

    @tf.custom_gradient
    def total(*values: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., list[tf.Tensor]]]:
        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            (whole,) = _over_replicas([up_the_tree(upstream)])
            return [tf.identity(whole) for _ in upstream]

        (whole,) = _over_replicas([up_the_tree(values)])
        return [tf.identity(whole) for _ in values], gradient

    return total(*parts)


def up_the_tree(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of 2^n tensors, neighbours first: (a + b) + (c + d)."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """The sums over all replicas, in the tree's order, on each of them."""
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return values
    if replicas == 2:  # a + b is b + a, so anybody may add them
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
    flat = tf.concat([tf.reshape(value, [-1]) for value in values], 0)
    gathered = tf.reshape(context.all_gather(flat, 0), [replicas, flat.shape[0]])
    whole = up_the_tree(tf.unstack(gathered))
    pieces = tf.split(whole, [value.shape.num_elements() for value in values])
    return [tf.reshape(piece, v.shape) for piece, v in zip(pieces, values, strict=True)]
