"""One replica's work in a step: gradients and sums over its rows, then their sums over replicas.

The loss and the gradients of a global batch are sums over its real examples, divided by the number
of real examples, so they don't depend on how the rows are divided over replicas.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from mnist_dist.data.checking import Checking
from mnist_dist.data.pipeline import Block
from mnist_dist.network import xla
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.branch import Branch
from mnist_dist.network.own import AnyNetwork
from mnist_dist.network.row_positions import RowPositions
from mnist_dist.training import step_records
from mnist_dist.training.loss_scale import LossScale
from mnist_dist.training.reduction import (
    Differentiated,
    Gradient,
    accumulated,
    all_reduce,
    differentiate,
    not_finite,
    summed,
)
from mnist_dist.training.repeated import Due, Totals, compared, digests


class Settings(NamedTuple):
    """How a step is computed.

    Attributes:
        seed: the run's seed.
        label_smoothing: part of the label spread over all classes.
        clip_norm: largest global norm of the gradient; 0 for no limit.
        wire_dtype: "bfloat16" to sum the gradients over the replicas in it, else full precision.
        augmentation: what is done to the images.
        eager: run without a graph.
        shards: fixed parts of the global batch, each computed by itself; 0 for none.
        accumulate_steps: with shards, the groups in which a replica computes its own.
        xla: what XLA compiles: "block", a block of steps as one program, on a single replica;
            "parts", each replica's gradients and its update as programs of their own, between which
            TensorFlow sums over the replicas; "" for nothing.
        digest_every_steps: global steps between digests of gradients and weights; 0 for none.
        checking: which steps compute a part twice; None for none.
        factored: names of the dense kernels whose gradients are sent as factors.
        gather: each replica gathers the gradients of all and adds them; else an all-reduce.
    """

    seed: int
    label_smoothing: float
    clip_norm: float
    wire_dtype: str
    augmentation: Augmentation
    eager: bool
    shards: int = 0
    accumulate_steps: int = 1
    xla: Literal["", "block", "parts"] = ""
    digest_every_steps: int = 0
    checking: Checking | None = None
    factored: tuple[str, ...] = ()
    gather: bool = False

    def part(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A part of a step: a function of tensors that doesn't communicate."""
        return xla.program(function) if self.xla == "parts" else function


class ReplicaStep(NamedTuple):
    """The result of a step after the sum over all replicas; each has the same, but `checks`."""

    gradients: list[tf.Tensor]
    sums: tf.Tensor  # of step_records.sums
    statistics: dict[str, tf.Tensor]
    checks: Any = ()
    """int64 [1 + opinions, variables + 2], what this replica computed and repeated, before the sum
    over replicas (see `repeated.compared`); () without --check_every_steps."""


class Replica:
    """One replica's share of a step, computed in micro-batches."""

    def __init__(self, network: AnyNetwork, loss_scale: LossScale, settings: Settings) -> None:
        self._network = network
        self._loss_scale = loss_scale
        self._settings = settings
        self._dtype = tf.as_dtype(network.dtype)
        self._trainable = [network.variables[name].value for name in network.trainable]
        self._compute = on_rows(self._gradients, settings)
        self._not_finite = settings.part(lambda gradients: not_finite(gradients, loss_scale))
        self._unscaled = unscaling(loss_scale, settings)

    def step(
        self, block: Block, k: tf.Tensor, stop: tf.Tensor, due: Due | None = None
    ) -> ReplicaStep:
        """Computes step `k` of a block.

        Args:
            block: this replica's block.
            k: int32 scalar.
            stop: dtype scalar, this worker's `step_records.requests`.
            due: whether the step is checked; None without --check_every_steps.
        """
        gradients: list[Gradient] = []
        sums, statistics = tf.zeros([2], self._dtype), dict[str, tf.Tensor]()
        checks: tf.Tensor = ()
        total = tf.cast(block.total[k], self._dtype)
        for micro in range(block.real.shape[1]):
            # Micro-batches run one after another, so that only one is in memory.
            with tf.control_dependencies([*tf.nest.flatten(gradients), sums]):
                images = tf.identity(block.images[k, micro])
            recorded = Totals(lambda _, values: all_reduce(values[0]))
            rows = RowPositions(
                self._settings.seed,
                block.step[k],
                block.first[k, micro],
                block.real[k, micro],
                recorded if due else lambda values: [all_reduce(value) for value in values],
                bool(self._settings.xla),
            )
            labels = block.labels[k, micro]
            own, added, values = self._compute(images, labels, rows, total)
            if due and not micro:
                first = own, added, recorded
                checks = self._replayed(first, images, labels, rows, total, due)
            gradients = list(map(accumulated, gradients, own)) if micro else own
            sums += added
            for name, value in values.items():
                statistics[name] = statistics.get(name, 0.0) + value / total
        nonfinite = self._not_finite(gradients)
        sums = step_records.sums(sums / total, stop, nonfinite)
        wire_dtype = tf.bfloat16 if self._settings.wire_dtype == "bfloat16" else self._dtype
        reduced, sums = summed(gradients, sums, wire_dtype, self._settings.gather)
        return ReplicaStep(self._unscaled(reduced), sums, statistics, checks)

    def _replayed(  # noqa: PLR0913
        self,
        first: tuple[list[Gradient], tf.Tensor, Totals],
        images: tf.Tensor,
        labels: tf.Tensor,
        rows: RowPositions,
        total: tf.Tensor,
        due: Due,
    ) -> tf.Tensor:
        """Digests of a micro-batch's first computation, and of a second one in a checked step."""
        gradients, sums, recorded = first

        def replay() -> list[tf.Tensor]:
            again = recorded.again()
            repeated = rows._replace(totals=again)
            found, added, _ = self._compute(images, labels, repeated, total)
            return [
                digests(gradients, sums, recorded.of_shard(0)),
                digests(found, added, again.of_shard(0)),
            ]

        return compared(due, 1, len(self._trainable), replay)

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, rows: RowPositions, total: tf.Tensor
    ) -> tuple[list[Gradient], tf.Tensor, dict[str, tf.Tensor]]:
        """One micro-batch: gradients of its share of the mean loss, sums, and statistics."""
        pixels = self._settings.augmentation.apply(as_pixels(images, self._dtype), rows)
        branch = Branch(pixels, rows, (), dict.fromkeys(self._settings.factored, ()))
        with tf.GradientTape() as tape:
            (logits,), statistics = self._network.side_by_side([branch])
            sums = scores(logits, labels, rows, self._settings.label_smoothing)
            scaled = self._loss_scale.up(sums[0] / total)
        by = Differentiated(self._trainable, branch.dense or {})
        (gradients,) = differentiate(tape, scaled, self._network.trainable, [by])
        return gradients, tf.stack(sums), statistics


def as_pixels(images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Bytes as numbers from 0 to 1, as the notebook's reader gave them."""
    return tf.cast(images, dtype) / 255.0


def scores(
    logits: tf.Tensor, labels: tf.Tensor, rows: RowPositions, smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The sums over the real rows of the loss and of right answers."""
    mask = rows.mask(logits.shape[0], logits.dtype)
    loss = tf.reduce_sum(cross_entropy(logits, labels, smoothing, rows.compiled) * mask)
    # int64, since TensorFlow compares int32 on the host, which would stall a GPU at each step.
    found = tf.equal(tf.argmax(logits, 1), tf.cast(labels, tf.int64))
    right = tf.cast(found, logits.dtype) * mask
    return loss, tf.reduce_sum(right)


def on_rows(compute: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    """A computation of a micro-batch or a shard, as a part of a step.

    Args:
        compute: of images, labels, their RowPositions, and the real rows of the global batch.
        settings: how a step is computed.
    """
    if settings.xla != "parts":
        return compute

    def totals(_: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        raise NotImplementedError("XLA can't sum over replicas within a part of a step")

    @settings.part
    def program(
        images: tf.Tensor, labels: tf.Tensor, positions: Sequence[tf.Tensor], total: tf.Tensor
    ) -> Any:
        step, first, real = positions
        rows = RowPositions(settings.seed, step, first, real, totals, True)
        return compute(images, labels, rows, total)

    def call(images: tf.Tensor, labels: tf.Tensor, rows: RowPositions, total: tf.Tensor) -> Any:
        return program(images, labels, (rows.step, rows.first, rows.real), total)

    return call


def unscaling(
    loss_scale: LossScale, settings: Settings
) -> Callable[[list[tf.Tensor]], list[tf.Tensor]]:
    """From summed gradients to those of the unscaled loss, clipped if `clip_norm` isn't 0."""

    def unscaled(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        gradients = [loss_scale.down(gradient) for gradient in gradients]
        if settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm)
        return gradients

    if not (loss_scale.variables or settings.clip_norm):
        return list  # a program would copy them
    return settings.part(unscaled)


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, smoothing: float, compiled: bool = False
) -> tf.Tensor:
    """Softmax cross-entropy of each row, in nats, in the logits' dtype: [rows]."""
    if not smoothing and not compiled:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    classes = logits.shape[1]
    one_hot = xla.one_hot if compiled else tf.one_hot
    targets = one_hot(labels, classes, dtype=logits.dtype) * (1.0 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)
