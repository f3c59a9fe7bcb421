"""A training step over all replicas: their gradients, the update; and the evaluation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.data.pipeline import Block
from mnist_dist.network import views
from mnist_dist.network.layers import BatchNorm
from mnist_dist.training import step_records
from mnist_dist.training.bit_digest import bit_digest
from mnist_dist.training.reduction import all_reduce
from mnist_dist.training.repeated import MORE, Due
from mnist_dist.training.replica import Replica, ReplicaStep, Settings, as_pixels, cross_entropy
from mnist_dist.training.shards import Shards
from mnist_dist.training.state import State


class TrainedBlock(NamedTuple):
    """What the host learns of a block of K steps; what is past the trained steps is zero.

    Attributes:
        rows: dtype [K, width], a row for each step, which `step_records.unpack` reads.
        checks: int64 [K, replicas of this worker, 1 + opinions, variables + 2], what
            `repeated.compared` returns; [K, 0] without --check_every_steps.
        digests: int64 [K, 2 * trainable variables], digests of the gradients that were applied and
            of the weights after the update, zero for a step without; [K, 0] without
            --digest_every_steps.
    """

    rows: tf.Tensor
    checks: tf.Tensor
    digests: tf.Tensor


class Steps:
    """The training and evaluation of one network under one strategy.

    Attributes:
        dtype: of losses and learning rates.
        trainable: the names of the variables that are trained, in the order of the digests.
    """

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
        self.trainable = tuple(self._network.trainable)
        self._tta = tta
        graph: Callable[..., Any] = _eager if settings.eager else _graph
        kind = Shards if settings.shards else Replica
        self._replica = kind(self._network, self._loss_scale, settings)
        self._settings = settings
        # A single replica's steps don't need it, and would take 0.1 ms longer.
        several = strategy.num_replicas_in_sync > 1
        self._body = graph(self._step, apart=True) if several else self._step
        whole = settings.xla == "block"
        self.train = graph(self._train, loops=True, xla=whole)
        self.train_block = graph(self._train_block, loops=True, xla=whole)
        self.score = graph(self._score)
        self.merge = graph(self._merge)
        self.swap_averages = graph(lambda: self._optimizer.swap_averages(strategy))

    def _train(self, block: Any, rates: tf.Tensor, count: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """Trains the first `count` global steps of a block.

        Args:
            block: this worker's replicas' Blocks, distributed.
            rates: dtype [K], the learning rate of each step.
            count: int32 scalar, how many of the block's K steps to run.
            stop: dtype scalar, this worker's `step_records.requests`.

        Returns:
            dtype [K, width]: a row for each step, which `step_records.unpack` reads; rows past
            `count` are zero.
        """
        return self._train_block(block, rates, count, stop).rows

    def _train_block(
        self, block: Any, rates: tf.Tensor, count: tf.Tensor, stop: tf.Tensor
    ) -> TrainedBlock:
        """As `_train`, and returns the digests as well."""
        # int32 values stay on the host; int64 values stay on the GPU, and reading one stalls it.
        first = tf.cast(self._local(block.step)[0], tf.int32)
        arrays = self._arrays(rates.shape[0])
        k = tf.constant(0)
        while k < count:  # XLA would compile a range anew for each length
            arrays = _written(arrays, k, self._body(block, k, first, rates[k], stop))
            k += 1
        return TrainedBlock(*[array.stack() for array in arrays])

    @tf.autograph.experimental.do_not_convert
    def _arrays(self, steps: int) -> list[tf.TensorArray]:
        """Empty arrays of what `_step` returns for each step."""
        width = step_records.width(self._strategy.num_replicas_in_sync)
        shapes = [(self.dtype, [width]), (tf.int64, self._checks_shape)]
        shapes += [(tf.int64, [self._digest_count])]
        return [tf.TensorArray(dtype, size=steps, element_shape=shape) for dtype, shape in shapes]

    @tf.autograph.experimental.do_not_convert
    def _step(
        self, block: Any, k: tf.Tensor, first: tf.Tensor, rate: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Trains step `k` of a block; its rows of `_arrays`. `first` is the block's first step."""
        step = first + k
        due = None
        if self._settings.checking:
            every = self._settings.checking.every
            due = Due(tf.equal((step + 1) % every, 0), (step + 1) // every - first // every - 1)
        result = self._strategy.run(self._replica.step, args=(block, k, stop, due))
        checks = tf.zeros([0], tf.int64)
        if due:
            checks = tf.stack(self._strategy.experimental_local_results(result.checks))
        self._update(result, rate)
        local = [self._local(gradient) for gradient in result.gradients]
        norm = tf.cond(  # which reads all gradients once more
            step_records.has_norm(step),
            lambda: tf.linalg.global_norm(local),
            lambda: tf.zeros([], self.dtype),
        )
        row = step_records.row(self._local(result.sums), norm)
        return row, checks, self._step_digests(local, step)

    @property
    def _checks_shape(self) -> list[int]:
        checking = self._settings.checking
        if not checking:
            return [0]
        return [checking.devices, 1 + checking.opinions, len(self.trainable) + len(MORE)]

    @property
    def _digest_count(self) -> int:
        return 2 * len(self._network.trainable) if self._settings.digest_every_steps else 0

    def _step_digests(self, gradients: list[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """Digests of the gradients, then of the updated weights, if they are due at this step."""
        every = self._settings.digest_every_steps
        if not every:
            return tf.zeros([0], tf.int64)
        weights = [self._network.variables[name].value for name in self._network.trainable]

        def digests() -> tf.Tensor:
            local = [*gradients, *(tf.identity(self._local(weight)) for weight in weights)]
            return tf.stack([bit_digest(tensor) for tensor in local])

        none = tf.zeros([self._digest_count], tf.int64)
        return tf.cond(tf.equal((step + 1) % every, 0), digests, lambda: none)

    def _update(self, result: ReplicaStep, rate: tf.Tensor) -> None:
        """Updates the weights on all replicas, or on none if float16 gradients aren't finite."""

        def update() -> None:
            self._optimizer.apply(self._strategy, result.gradients, rate, self._settings.part)
            for name, value in result.statistics.items():
                moving = self._network.variables[name].value
                self._strategy.extended.update(moving, _move, args=(value,), group=False)

        local = [self._local(gradient) for gradient in result.gradients]
        self._loss_scale.guard(local, update)

    def graph(self, image_shape: Sequence[int]) -> tf.Graph:
        """The graph of the network's forward pass on images of a shape, for TensorBoard."""
        images = tf.TensorSpec([None, *image_shape], tf.uint8, name="images")

        def network(images: tf.Tensor) -> tf.Tensor:
            return self._network(as_pixels(images, self.dtype))[0]

        forward = tf.function(network, autograph=False)
        return forward.get_concrete_function(images).graph

    @property
    def loss_scale(self) -> dict[str, float]:
        """{"loss_scale": the factor on the loss} in float16; else empty."""
        scale = self._loss_scale.variables.get("scale")
        return {"loss_scale": float(scale.numpy())} if scale is not None else {}

    def _score(self, block: Any) -> Any:
        """Scores an evaluation block: dtype [slices, rows, 2], loss and predicted class."""

        def score(block: Block) -> tf.Tensor:
            slices = range(block.real.shape[1])
            images = [as_pixels(block.images[0, number], self.dtype) for number in slices]
            logits = views.logits(self._network, images, self._tta)
            scores = []
            for number in slices:
                losses = cross_entropy(logits[number], block.labels[0, number], 0.0)
                predicted = tf.cast(tf.argmax(logits[number], 1), self.dtype)
                scores.append(tf.stack([losses, predicted], 1))
            return tf.stack(scores)

        return self._strategy.run(score, args=(block,))

    def _merge(self, table: Any) -> tf.Tensor:
        """The sum of all replicas' tables, on all of them."""

        def total(own: tf.Tensor) -> tf.Tensor:
            local = tf.identity(own)  # on the replica's device; a graph's argument isn't there
            return all_reduce(local)

        return self._local(self._strategy.run(total, args=(table,)))

    def _local(self, value: Any) -> tf.Tensor:
        return self._strategy.experimental_local_results(value)[0]


def _graph(
    function: Callable[..., Any], loops: bool = False, xla: bool = False, apart: bool = False
) -> Callable[..., Any]:
    """Compiles a function into a graph.

    The partial gives each run a function of its own: TensorFlow counts the traces of a function's
    code over all runs of a process, and warns of many. AutoGraph rewrites all code that is called,
    which takes 4 s of a start, so it is used only for `loops` over tensors.

    A loop's body is kept `apart`, as a graph of its own without the loop's cycle. Within the cycle
    TensorFlow's pass for oneDNN can reach a max-pooling's gradient before the max-pooling; it then
    keeps TensorFlow's own kernel, which takes seven times as long.
    """
    return tf.function(
        functools.partial(function),
        autograph=loops,
        jit_compile=xla or None,
        experimental_attributes={"_noinline": True} if apart else None,
    )


@tf.autograph.experimental.do_not_convert
def _written(
    arrays: Sequence[tf.TensorArray], k: tf.Tensor, values: Sequence[tf.Tensor]
) -> list[tf.TensorArray]:
    """The arrays with a value each at index `k`."""
    return [array.write(k, value) for array, value in zip(arrays, values, strict=True)]


def _eager(function: Callable[..., Any], **_: bool) -> Callable[..., Any]:
    return function


def _move(moving: tf.Variable, value: tf.Tensor) -> None:
    moving.assign_add((value - moving) * (1.0 - BatchNorm.momentum))
