"""The same bits on any number of replicas: a step in fixed shards, summed in a fixed order.

Rounding makes a sum depend on its order, and training amplifies the smallest difference. So
--shards cuts the global batch into a fixed number of shards on any number of replicas. Each shard
is computed separately, in the same shapes and by single-threaded operations. All sums over shards
go up one binary tree: each replica computes a whole subtree, and the replicas' sums are the leaves
of the rest. (EasyScale, Li et al. 2023, does the same for PyTorch with virtual workers.)
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.network.branch import Branch
from mnist_dist.network.layers import Statistics
from mnist_dist.network.own import AnyNetwork
from mnist_dist.network.row_positions import RowPositions
from mnist_dist.training import step_records, tree_reduction
from mnist_dist.training.loss_scale import LossScale
from mnist_dist.training.reduction import Differentiated, Gradient, differentiate, not_finite
from mnist_dist.training.repeated import Due, Totals, compared, digests
from mnist_dist.training.replica import (
    ReplicaStep,
    Settings,
    as_pixels,
    on_rows,
    scores,
    unscaling,
)
from mnist_dist.training.tree_reduction import up_the_tree


class _Subtree(NamedTuple):
    """The sums over a group of shards."""

    gradients: list[Gradient]  # factors: of each shard, [shards, rows, inputs or units]
    sums: tf.Tensor  # [2]: loss, right answers
    statistics: Statistics
    by_shard: list[tuple[list[Gradient], tf.Tensor]]  # gradients and sums of each


class Shards:
    """One replica's share of a step, computed in shards; the counterpart of Replica."""

    def __init__(self, network: AnyNetwork, loss_scale: LossScale, settings: Settings) -> None:
        self._network = network
        self._loss_scale = loss_scale
        self._settings = settings
        self._dtype = tf.as_dtype(network.dtype)
        self._trainable = [network.variables[name] for name in network.trainable]
        self._shard_by_xla = on_rows(self._shard, settings)
        self._not_finite = settings.part(lambda gradients: not_finite(gradients, loss_scale))
        self._unscaled = unscaling(loss_scale, settings)

    def step(
        self, block: Block, k: tf.Tensor, stop: tf.Tensor, due: Due | None = None
    ) -> ReplicaStep:
        """Computes step `k` of a block, whose second axis is this replica's shards.

        Args:
            block: this replica's block.
            k: int32 scalar.
            stop: dtype scalar, this worker's `step_records.requests`.
            due: whether the step is checked; None without --check_every_steps.
        """
        totals = Totals(lambda _, values: tree_reduction.whole(values))
        total = tf.cast(block.total[k], self._dtype)
        own_shards = range(block.real.shape[1])
        group_size = len(own_shards) // self._settings.accumulate_steps
        subtrees: list[_Subtree] = []
        for first in own_shards[::group_size]:
            group = own_shards[first : first + group_size]
            # Groups run one after another, so that only one is in memory.
            before = subtrees[-1].gradients if subtrees else []
            with tf.control_dependencies(tf.nest.flatten(before)):
                images = [tf.identity(block.images[k, shard]) for shard in group]
            rows = [self._rows(block, k, shard, totals) for shard in group]
            labels = [block.labels[k, shard] for shard in group]
            subtrees.append(self._group(images, labels, rows, total))
        columns = zip(*(subtree.gradients for subtree in subtrees), strict=True)
        gradients = [tree_reduction.joined(values) for values in columns]
        nonfinite = self._not_finite(gradients)
        scored = up_the_tree([subtree.sums for subtree in subtrees])
        sums = step_records.sums(scored, stop, nonfinite)
        reduced, sums = tree_reduction.summed(gradients, sums, self._settings.gather)
        statistics = {name: value / total for name, value in subtrees[0].statistics.items()}
        counts = tf.concat([tf.stack([total, total, 1.0]), tf.ones_like(nonfinite)], 0)
        checks = self._checked(block, subtrees[0], totals, total, due) if due else ()
        return ReplicaStep(self._unscaled(reduced), sums / counts, statistics, checks)

    def _checked(
        self, block: Block, first: _Subtree, totals: Totals, total: tf.Tensor, due: Due
    ) -> tf.Tensor:
        """Digests of one of the first group's shards, and of those of other replicas."""
        opinions = block.check.real.shape[1]

        def own(shard: int) -> tf.Tensor:
            gradients, scored = first.by_shard[shard]
            return digests(gradients, scored, totals.of_shard(shard))

        def computed(number: int) -> tf.Tensor:
            images = block.check.images[due.slot, number]
            again = totals.again()
            rows = self._rows(block.check, due.slot, number, again)
            labels = block.check.labels[due.slot, number]
            ((gradients, scored),) = self._group([images], [labels], [rows], total).by_shard
            return digests(gradients, scored, again.of_shard(0))

        def compute() -> list[tf.Tensor]:
            shards = [functools.partial(own, shard) for shard in range(len(first.by_shard))]
            chosen = tf.switch_case(tf.identity(block.shard[due.slot]), shards)
            return [chosen, *(computed(number) for number in range(opinions))]

        return compared(due, opinions, len(self._trainable), compute)

    def _rows(self, block: Block, k: Any, shard: Any, totals: Totals) -> RowPositions:
        """The rows of shard `shard` of a block's step `k`, whose batch statistics `totals` sums."""
        return RowPositions(
            self._settings.seed,
            block.step[k],
            block.first[k, shard],
            block.real[k, shard],
            totals,
            bool(self._settings.xla),
        )

    def _group(
        self,
        images: Sequence[tf.Tensor],
        labels: Sequence[tf.Tensor],
        rows: Sequence[RowPositions],
        total: tf.Tensor,
    ) -> _Subtree:
        """Computes a group of shards: side by side, or by XLA's program for one shard."""
        if not self._settings.xla:
            branches = list(map(self._branch, images, rows))
            return self._subtree(branches, labels, total)
        columns = zip(images, labels, rows, strict=True)
        return _summed([self._shard_by_xla(*one, total) for one in columns], {})

    def _shard(
        self, images: tf.Tensor, labels: tf.Tensor, rows: RowPositions, total: tf.Tensor
    ) -> tuple[list[Gradient], tf.Tensor]:
        """Gradients and sums of one shard."""
        (found,) = self._subtree([self._branch(images, rows)], [labels], total).by_shard
        return found

    def _branch(self, images: tf.Tensor, rows: RowPositions) -> Branch:
        """A shard with its own alias of each weight, by which it is differentiated."""
        pixels = self._settings.augmentation.apply(as_pixels(images, self._dtype), rows)
        weights = [(variable, tf.identity(variable.value)) for variable in self._trainable]
        return Branch(pixels, rows, weights, dict.fromkeys(self._settings.factored, ()))

    def _subtree(
        self, branches: Sequence[Branch], labels: Sequence[tf.Tensor], total: tf.Tensor
    ) -> _Subtree:
        """Computes a group of shards: gradients of their share of the mean loss, and sums."""
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
        differentiated = [
            Differentiated(values, branch.dense or {})
            for values, branch in zip(aliases, branches, strict=True)
        ]
        gradients = differentiate(tape, scaled, self._network.trainable, differentiated)
        scored = [tf.stack(pair) for pair in sums]
        return _summed(list(zip(gradients, scored, strict=True)), statistics)


def _summed(by_shard: list[tuple[list[Gradient], tf.Tensor]], statistics: Statistics) -> _Subtree:
    """The sums over shards, from the gradients and sums of each."""
    gradients, scored = zip(*by_shard, strict=True)
    return _Subtree(
        [tree_reduction.of_shards(values) for values in zip(*gradients, strict=True)],
        up_the_tree(scored),
        statistics,
        by_shard,
    )
