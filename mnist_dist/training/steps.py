"""How the replicas' parts become one update of the weights, and one evaluation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.network import views
from mnist_dist.network.layers import BatchNorm
from mnist_dist.run.tensorboard import SUMMARY_STEPS
from mnist_dist.training.replica import Replica, ReplicaStep, Settings, as_pixels, cross_entropy
from mnist_dist.training.shards import Shards
from mnist_dist.training.state import State


class Steps:
    """The training and evaluation of one network under one strategy."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        state: State,
        settings: Settings,
        tta: bool = False,
    ) -> None:
        """Args:
        strategy: the one whose scope the state was made in.
        state: what is trained.
        settings: how a step is computed.
        tta: score by the mean answer to several views of an image.
        """
        self._strategy = strategy
        self._network, self._optimizer, self._loss_scale = state
        self.dtype = tf.as_dtype(self._network.dtype)
        self._tta = tta
        graph: Callable[..., Any] = _as_it_is if settings.eager else _graph
        part = Shards if settings.shards else Replica
        self._replica = part(self._network, self._loss_scale, settings)
        self.train = graph(self._train, loops=True, xla=settings.xla)
        self.score = graph(self._score)
        self.merge = graph(self._merge)
        self.swap_averages = graph(lambda: self._optimizer.swap_averages(strategy))

    def _train(self, block: Any, rates: tf.Tensor, steps: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """The first `steps` global steps of a block.

        Args:
            block: this worker's replicas' Blocks, distributed.
            rates: dtype [K], the learning rate of each step.
            steps: int32 scalar, how many of the block's K steps to run.
            stop: dtype scalar, 1 where this worker was told to stop.

        Returns:
            dtype [K, 4 + replicas]: loss and accuracy of each step's global batch, how many
            replicas are on workers that were told to stop, 1 for each replica whose own gradients
            weren't finite, and for every SUMMARY_STEPS-th step the gradient's global norm; rows
            past `steps` are zero.
        """
        shape = [4 + self._strategy.num_replicas_in_sync]
        records = tf.TensorArray(self.dtype, size=rates.shape[0], element_shape=shape)
        # Of 32 bits, which GPUs leave on the host: a look at those on the card stops it.
        first = tf.cast(self._local(block.step)[0], tf.int32)
        k = tf.constant(0)
        while k < steps:  # XLA would compile a range of each length anew
            summary = (first + k + 1) % SUMMARY_STEPS == 0
            records = records.write(k, self._step(block, k, rates[k], stop, summary))
            k += 1
        return records.stack()

    @tf.autograph.experimental.do_not_convert
    def _step(
        self, block: Any, k: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor, summary: tf.Tensor
    ) -> tf.Tensor:
        """Step `k` of a block: its row of what `_train` returns."""
        result = self._strategy.run(self._replica.step, args=(block, k, stop))
        self._update(result, rate)
        norm = self._norm(result.gradients, summary)
        return tf.concat([self._local(result.sums), [norm]], 0)

    def _norm(self, gradients: list[tf.Tensor], wanted: tf.Tensor) -> tf.Tensor:
        """The global norm of what is applied, where it is wanted: it takes a look at all of it."""
        local = [self._local(gradient) for gradient in gradients]
        return tf.cond(
            wanted, lambda: tf.linalg.global_norm(local), lambda: tf.zeros([], self.dtype)
        )

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

        def network(images: tf.Tensor) -> tf.Tensor:
            return self._network(as_pixels(images, self.dtype))[0]

        forward = tf.function(network, autograph=False)
        return forward.get_concrete_function(images).graph

    @property
    def loss_scale(self) -> dict[str, float]:
        """The factor on the loss in float16, by its name; else nothing."""
        scale = self._loss_scale.variables.get("scale")
        return {"loss_scale": float(scale.numpy())} if scale is not None else {}

    def _score(self, block: Any) -> Any:
        """A block of an evaluation: [loss, predicted class] of each row, dtype [parts, rows, 2]."""

        def score(block: Block) -> tf.Tensor:
            parts = range(block.real.shape[1])
            images = [as_pixels(block.images[0, part], self.dtype) for part in parts]
            logits = views.answers(self._network, images, self._tta)
            scores = []
            for part in parts:
                losses = cross_entropy(logits[part], block.labels[0, part], 0.0)
                predicted = tf.cast(tf.argmax(logits[part], 1), self.dtype)
                scores.append(tf.stack([losses, predicted], 1))
            return tf.stack(scores)

        return self._strategy.run(score, args=(block,))

    def _merge(self, table: Any) -> tf.Tensor:
        """The sum of all replicas' tables, on all of them."""

        def total(part: tf.Tensor) -> tf.Tensor:
            here = tf.identity(part)  # on the replica's device, which a graph's argument isn't
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)

        return self._local(self._strategy.run(total, args=(table,)))

    def _local(self, value: Any) -> tf.Tensor:
        return self._strategy.experimental_local_results(value)[0]


def _graph(
    function: Callable[..., Any], loops: bool = False, xla: bool = False
) -> Callable[..., Any]:
    """A graph of its own: TensorFlow counts a function's traces by its code, over all runs of a
    process, and warns of many.

    AutoGraph reads and rewrites all code that is called, for 4 s of a start, so it is asked only
    where there are `loops` over tensors to turn into the graph's.
    """
    return tf.function(functools.partial(function), autograph=loops, jit_compile=xla or None)


def _as_it_is(function: Callable[..., Any], **_: bool) -> Callable[..., Any]:
    return function


def _move(moving: tf.Variable, value: tf.Tensor) -> None:
    moving.assign_add((value - moving) * (1.0 - BatchNorm.momentum))
