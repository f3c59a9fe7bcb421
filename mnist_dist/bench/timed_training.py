"""Times the training of replicas, as in a run: of all together, or of each by itself."""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.config import Config
from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import prefetched
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.devices.strategy import Devices

BLOCKS = 5  # at least, in a timed stretch


class AllReplicas:
    """All replicas of all workers.

    Attributes:
        placement: of this worker's.
    """

    def __init__(self, placement: ReplicaPlacement) -> None:
        def mean(value: tf.Tensor) -> tf.Tensor:
            local = tf.identity(value)  # on the replica's device, where a graph's argument isn't
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.MEAN, local)

        self.placement = placement
        self._run = tf.function(
            lambda value: placement.strategy.run(mean, args=(value,)), autograph=False
        )

    def mean(self, value: float) -> float:
        """Returns the mean of all replicas' values, the same on each."""
        values = self.placement.place(lambda _: tf.constant(value))
        return float(self.placement.results(self._run(values))[0].numpy())

    def wait(self) -> None:
        """Waits until all replicas call it."""
        self.mean(0.0)


class Timing(NamedTuple):
    """Seconds per step, and those of them spent waiting for input."""

    step_s: float
    wait_s: float


class TimedTraining:
    """A network that trains on, block by block, as in a run, and is timed.

    Args:
        config: the flags, with this network's global batch.
        data: the images.
        built: the devices.
        placement: the replicas that train together.
        device: the device of a replica that trains alone; empty for all together.

    Attributes:
        sent: what is sent in a step to sum the gradients.
    """

    def __init__(
        self,
        config: Config,
        data: ImageData,
        built: Devices,
        placement: ReplicaPlacement,
        device: str = "",
    ) -> None:
        full = len(data.train.labels) // config.batch_size
        self._block_steps = assembly.plan(config, full, built.kind).block_steps
        self._device = device
        with self._on_device():
            made = assembly.assemble(config, data, built, placement.strategy, self._block_steps)
            blocks = assembly.blocks(config, made.trainset, placement, built.kind)
        self.sent = made.reduce
        self._steps, self._schedule = made.steps, made.schedule
        self._blocks = prefetched(blocks, _ranges(made.order, self._block_steps))

    def warm(self) -> float:
        """Trains a step to compile it, and another one, whose seconds it returns."""
        self._train(1)
        return sum(self._train(1))

    def run(self, about_s: float, seconds: float) -> Timing:
        """Returns the median time of a step, and the mean time that a step waited for its images.

        Args:
            about_s: estimated seconds per step, the same on all replicas that train together.
            seconds: the duration of the training.
        """
        steps = max(1, min(self._block_steps, round(seconds / BLOCKS / about_s)))
        blocks = max(BLOCKS, math.ceil(seconds / (steps * about_s)))
        taken = [self._train(steps) for _ in range(blocks)]
        waits = statistics.mean(waited for waited, _ in taken)
        whole = statistics.median(waited + trained for waited, trained in taken)
        return Timing(whole / steps, waits / steps)

    def close(self) -> None:
        """Ends the thread that prefetches blocks."""
        self._blocks.close()

    def _train(self, steps: int) -> tuple[float, float]:
        """Trains a block's first steps; returns the seconds of waiting and of training."""
        began = time.perf_counter()
        numbers, block = next(self._blocks)
        came = time.perf_counter()
        rates = tf.constant([self._schedule.rate(step) for step in numbers], self._steps.dtype)
        stop = tf.zeros([], self._steps.dtype)
        with self._on_device():
            self._steps.train(block, rates, tf.constant(steps), stop).numpy()
        return came - began, time.perf_counter() - came

    def _on_device(self) -> contextlib.AbstractContextManager[Any]:
        return tf.device(self._device) if self._device else contextlib.nullcontext()


def _ranges(order: Order, block_steps: int) -> Iterator[range]:
    """Blocks of full batches, epoch after epoch."""
    blocks = order.examples // order.batch_size // block_steps
    for number in itertools.count():
        epoch, block = divmod(number, blocks)
        start = epoch * order.steps_per_epoch + block * block_steps
        yield range(start, start + block_steps)
