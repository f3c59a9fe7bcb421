"""What one replica computes, and how the replicas' parts become one update and one evaluation.

The losses and gradients of a global batch are sums over its real examples, wherever those are,
divided by how many there are. Nothing here knows how many replicas there are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.layers import BatchNorm
from mnist_dist.network.rows import Rows
from mnist_dist.training.state import State


class Settings(NamedTuple):
    """How a step is computed.

    Attributes:
        seed: the run's seed.
        label_smoothing: part of the label spread over all classes.
        clip_norm: largest global norm of the gradient; 0 for no limit.
        wire_dtype: "bfloat16" to sum the gradients over the replicas in it, else full precision.
        augmentation: what is done to the images.
        eager: run without a graph.
        xla: what XLA compiles: "" for nothing, "gradients" of a micro-batch, "step", or "block".
    """

    seed: int
    label_smoothing: float
    clip_norm: float
    wire_dtype: str
    augmentation: Augmentation
    eager: bool
    xla: str = ""


class ReplicaStep(NamedTuple):
    """What a replica has after the sum over all: the same on each."""

    gradients: list[tf.Tensor]
    sums: tf.Tensor  # [3]: mean loss, share of right answers, workers told to stop
    statistics: dict[str, tf.Tensor]


class Steps:
    """The training and evaluation of one network under one strategy."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        state: State,
        settings: Settings,
    ) -> None:
        self._strategy = strategy
        self._network, self._optimizer, self._loss_scale = state
        self._settings = settings
        self.dtype = tf.as_dtype(self._network.dtype)
        network = self._network
        self._trainable = [network.variables[name].value for name in network.trainable]
        compiled: Callable = (lambda f: f) if settings.eager else tf.function
        xla = settings.xla
        if xla == "step" and (strategy.num_replicas_in_sync > 1 or any(settings.augmentation)):
            xla = "gradients"  # XLA reduces over no replicas, and knows no bilinear sampling
        if xla == "gradients" and network.has_batch_norm and strategy.num_replicas_in_sync > 1:
            xla = ""
        self._xla = xla
        block, step = xla == "block", xla == "step"
        self.train = tf.function(self._train, jit_compile=True) if block else compiled(self._train)
        self._step = tf.function(self._whole_step, jit_compile=True) if step else self._whole_step
        self.score = compiled(self._score)
        self.merge = compiled(self._merge)
        self.swap_averages = compiled(lambda: self._optimizer.swap_averages(strategy))

    def _train(self, block: Any, rates: tf.Tensor, steps: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """The first `steps` global steps of a block.

        Args:
            block: this worker's replicas' Blocks, distributed.
            rates: dtype [K], the learning rate of each step.
            steps: int32 scalar, how many of the block's K steps to run.
            stop: dtype scalar, 1 where this worker was told to stop.

        Returns:
            dtype [K, 3]: loss and accuracy of each step's global batch, and how many replicas
            are on workers that were told to stop; rows past `steps` are zero.
        """
        records = tf.TensorArray(self.dtype, size=rates.shape[0], element_shape=[3])
        for k in tf.range(steps):
            records = records.write(k, self._step(block, k, rates[k], stop))
        return records.stack()

    def _whole_step(self, block: Any, k: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """Step `k` of a block: its row of what `_train` returns."""
        result = self._strategy.run(self._replica_step, args=(block, k, stop))
        self._update(result, rate)
        return self._local(result.sums)

    def _replica_step(self, block: Block, k: tf.Tensor, stop: tf.Tensor) -> ReplicaStep:
        context = tf.distribute.get_replica_context()

        def sum_over_replicas(value: Any) -> Any:
            return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

        gradients = [tf.zeros_like(variable) for variable in self._trainable]
        sums, statistics = tf.zeros([2], self.dtype), dict[str, tf.Tensor]()
        total = tf.cast(block.total[k], self.dtype)
        for micro in range(block.real.shape[1]):
            # One micro-batch after another: that they don't stand in memory together is their use.
            with tf.control_dependencies([*gradients, sums]):
                images = tf.identity(block.images[k, micro])
            rows = Rows(
                self._settings.seed,
                block.step[k],
                block.first[k, micro],
                block.real[k, micro],
                sum_over_replicas,
            )
            part, added, values = self._gradients(images, block.labels[k, micro], rows, total)
            gradients = [a + b for a, b in zip(gradients, part, strict=True)] if micro else part
            sums += added
            for name, value in values.items():
                statistics[name] = statistics.get(name, 0.0) + value / total
        sums = tf.concat([sums / total, [stop]], 0)
        if self._settings.wire_dtype == "bfloat16":  # the few sums stay as they are
            reduced = sum_over_replicas([tf.cast(gradient, tf.bfloat16) for gradient in gradients])
            gradients = [tf.cast(gradient, self.dtype) for gradient in reduced]
            sums = sum_over_replicas(sums)
        else:
            *gradients, sums = sum_over_replicas([*gradients, sums])
        return ReplicaStep(self._unscaled(gradients), sums, statistics)

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, rows: Rows, total: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
        """Of one micro-batch: gradients of its part of the mean loss, [loss, right] sums."""
        mask = rows.mask(images.shape[0], self.dtype)
        pixels = self._settings.augmentation.apply(self._pixels(images), rows)
        if self._xla != "gradients":
            return self._backward(pixels, labels, rows, total, mask)

        def backward(
            pixels: tf.Tensor,
            labels: tf.Tensor,
            numbers: tuple[tf.Tensor, ...],
            total: tf.Tensor,
            mask: tf.Tensor,
        ) -> Any:
            step, first, real = numbers
            here = Rows(rows.seed, step, first, real, rows.sum_over_replicas)
            return self._backward(pixels, labels, here, total, mask)

        numbers = (rows.step, rows.first, rows.real)
        return tf.function(backward, jit_compile=True)(pixels, labels, numbers, total, mask)

    def _backward(
        self, pixels: tf.Tensor, labels: tf.Tensor, rows: Rows, total: tf.Tensor, mask: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits, statistics = self._network(pixels, rows)
            losses = cross_entropy(logits, labels, self._settings.label_smoothing) * mask
            loss = tf.reduce_sum(losses)
            scaled = self._loss_scale.up(loss / total)
        gradients = tape.gradient(scaled, self._trainable)
        right = tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), self.dtype) * mask
        return gradients, tf.stack([loss, tf.reduce_sum(right)]), statistics

    def _unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        gradients = [self._loss_scale.down(gradient) for gradient in gradients]
        if self._settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._settings.clip_norm)
        return gradients

    def _update(self, result: ReplicaStep, rate: tf.Tensor) -> None:
        """Applies a step outside the replicas: all of them, or none where it isn't finite."""

        def update() -> None:
            self._optimizer.apply(self._strategy, result.gradients, rate)
            for name, value in result.statistics.items():
                moving = self._network.variables[name].value
                self._strategy.extended.update(moving, _move, args=(value,), group=False)

        local = [self._local(gradient) for gradient in result.gradients]
        self._loss_scale.guard(local, update)

    def _score(self, block: Any) -> Any:
        """A block of an evaluation: [loss, predicted class] of each row, dtype [rows, 2]."""

        def score(block: Block) -> tf.Tensor:
            logits, _ = self._network(self._pixels(block.images[0, 0]))
            losses = cross_entropy(logits, block.labels[0, 0], 0.0)
            return tf.stack([losses, tf.cast(tf.argmax(logits, 1), self.dtype)], 1)

        return self._strategy.run(score, args=(block,))

    def _merge(self, table: Any) -> tf.Tensor:
        """The sum of all replicas' tables, on all of them."""

        def total(part: tf.Tensor) -> tf.Tensor:
            here = tf.identity(part)  # on the replica's device, which a graph's argument isn't
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)

        return self._local(self._strategy.run(total, args=(table,)))

    def _pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Bytes as 0..1, as the notebook's reader gave them."""
        return tf.cast(images, self.dtype) / 255.0

    def _local(self, value: Any) -> tf.Tensor:
        return self._strategy.experimental_local_results(value)[0]


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Softmax cross-entropy of each row, in nats, in the logits' dtype: [rows]."""
    if not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    classes = logits.shape[1]
    targets = (
        tf.one_hot(labels, classes, dtype=logits.dtype) * (1.0 - smoothing) + smoothing / classes
    )
    return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def _move(moving: tf.Variable, value: tf.Tensor) -> None:
    moving.assign_add((value - moving) * (1.0 - BatchNorm.momentum))
