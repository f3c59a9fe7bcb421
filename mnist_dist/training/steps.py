"""What one replica computes, and how the replicas' parts become one update and one evaluation.

The losses and gradients of a global batch are sums over its real examples, wherever those are,
divided by how many there are. Nothing here knows how many replicas there are.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.layers import BatchNorm
from mnist_dist.network.rows import Rows
from mnist_dist.run.tensorboard import SUMMARY_STEPS
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
    """

    seed: int
    label_smoothing: float
    clip_norm: float
    wire_dtype: str
    augmentation: Augmentation
    eager: bool


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
        # TensorFlow counts a function's traces by its code, over all runs of a process, and warns
        # of many; a partial of it is a function of its own.
        compiled: Callable = (
            (lambda f: f) if settings.eager else (lambda f: tf.function(functools.partial(f)))
        )
        self.train = compiled(self._train)
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
            dtype [K, 4]: loss and accuracy of each step's global batch, how many replicas are on
            workers that were told to stop, and for every SUMMARY_STEPS-th step the gradient's
            global norm; rows past `steps` are zero.
        """
        records = tf.TensorArray(self.dtype, size=rates.shape[0], element_shape=[4])
        numbers = self._local(block.step)
        for k in tf.range(steps):
            result = self._strategy.run(self._replica_step, args=(block, k, stop))
            self._update(result, rates[k])
            norm = self._norm(result.gradients, (numbers[k] + 1) % SUMMARY_STEPS == 0)
            records = records.write(k, tf.concat([self._local(result.sums), [norm]], 0))
        return records.stack()

    def _norm(self, gradients: list[tf.Tensor], wanted: tf.Tensor) -> tf.Tensor:
        """The global norm of what is applied, where it is wanted: it takes a look at all of it."""
        local = [self._local(gradient) for gradient in gradients]
        return tf.cond(
            wanted, lambda: tf.linalg.global_norm(local), lambda: tf.zeros([], self.dtype)
        )

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

    def graph(self, image_shape: Sequence[int]) -> tf.Graph:
        """The network's forward pass on images of a shape, to be shown."""
        images = tf.TensorSpec([None, *image_shape], tf.uint8, name="images")
        forward = tf.function(lambda images: self._network(self._pixels(images))[0])
        return forward.get_concrete_function(images).graph

    @property
    def loss_scale(self) -> dict[str, float]:
        """The factor on the loss in float16, by its name; else nothing."""
        scale = self._loss_scale.variables.get("scale")
        return {"loss_scale": float(scale.numpy())} if scale is not None else {}

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
