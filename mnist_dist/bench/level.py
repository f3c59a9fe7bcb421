"""One number of replicas, measured: their training, each one's alone, and their all-reduce."""

import contextlib
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist import measured, parts
from mnist_dist.bench.plan import Task
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.data.order import Order, rows_per_replica
from mnist_dist.data.pipeline import Trainset, ahead
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import all_reduce, hardware, resources, strategy, visible
from mnist_dist.devices.placement import Placement
from mnist_dist.devices.strategy import Devices
from mnist_dist.errors import UsageError
from mnist_dist.training import state
from mnist_dist.training.steps import Steps

BLOCKS = 5  # at least, in a timed stretch
SMALL_BYTES = 1024


class _Together:
    """All replicas of all workers.

    Attributes:
        placement: of this worker's.
    """

    def __init__(self, placement: Placement) -> None:
        def mean(part: tf.Tensor) -> tf.Tensor:
            here = tf.identity(part)  # on the replica's device, which a graph's argument isn't
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.MEAN, here)

        self.placement = placement
        self._run = tf.function(lambda part: placement.strategy.run(mean, args=(part,)))

    def mean(self, value: float) -> float:
        """Of all replicas' values, the same on each."""
        values = self.placement.place(lambda replica: tf.constant(value))
        return float(self.placement.results(self._run(values))[0].numpy())

    def wait(self) -> None:
        """Waits until all are here."""
        self.mean(0.0)


def measure(config: Config, task: Task) -> dict[str, Any]:
    """What the replicas of a task do.

    Args:
        config: the run's flags; --batch_size is a replica's in weak scaling, and that of all
            together in strong scaling.
        task: which replicas.

    Returns:
        "devices" (of this worker, also those not used), their "kind" and "hardware", "precision",
        "cores", "parameters", "bytes" and "reductions" (of a step), "weak" and "strong" (see
        `_scaling`), "all_reduce" ("bytes" and "seconds"; None for one replica).

    Raises:
        UsageError, RunError: as in a training with these flags.
    """
    wanted = parts.wanted(config)
    names = visible.local_devices(wanted, max(len(task.workers), 1))
    used = names[: task.devices or 1]
    built = strategy.build(wanted, used, task.workers, task.rank, resources.cores())
    together = _Together(Placement(built.strategy, used, task.rank))
    data = sources.load(*config.data_flags)
    config = dataclasses.replace(config, precision=_precision(config, data, built))
    replicas = together.placement.replicas
    found: dict[str, Any] = {
        "devices": len(names),
        "kind": built.kind,
        "hardware": _hardware(used[0]),
        "precision": config.precision,
        "cores": resources.cores(),
        **_travels(config, data, built),
        "all_reduce": None,
    }
    weak = dataclasses.replace(config, batch_size=_weak_batch(config, data, replicas))
    found["weak"] = _scaling(weak, data, built, together, task.seconds)
    found["strong"] = found["weak"]
    if replicas > 1:
        found["strong"] = _scaling(config, data, built, together, task.seconds)
        sizes = _sizes(found["bytes"])
        seconds = all_reduce.seconds(together.placement, sizes)
        found["all_reduce"] = {"bytes": sizes, "seconds": seconds}
    return found


def _hardware(device: str) -> str:
    """The name of what computes."""
    names = hardware.arithmetic(device)
    return names.get("gpu") or names["cpu"]


def _weak_batch(config: Config, data: ImageData, replicas: int) -> int:
    batch, examples = config.batch_size * replicas, len(data.train.labels)
    if batch > examples:
        raise UsageError(
            f"--batch_size={config.batch_size} for each of {replicas} replicas is more than the "
            f"training set has images, {examples}; give at most {examples // replicas}"
        )
    return batch


def _precision(config: Config, data: ImageData, built: Devices) -> str:
    """What --precision=auto is here; the later levels are told."""
    if config.precision != "auto":
        return config.precision
    order = parts.order(config, data)
    steps = parts.plan(config, order.steps_per_epoch, built.kind).block_steps
    trainset = Trainset(data.train, order, config.accumulate_steps, 1, steps)
    return measured.precision(config, data, built, trainset)[0]


def _travels(config: Config, data: ImageData, built: Devices) -> dict[str, int]:
    """What is summed over the replicas in a step: parameters, bytes, and in how many all-reduces.

    With --bytes_per_pack there are several packs, the few sums go by themselves where the
    gradients are bfloat16, and a batch normalisation sums forward and backward.
    """
    how = parts.arithmetic(config, built, config.precision)
    stages = parts.architecture(config, data, how).stages
    normed = [stage for stage in stages if stage.normed]
    moving = sum(2 * stage.shape[-1] for stage in normed)  # mean and variance have no gradient
    parameters = sum(stage.parameters for stage in stages)
    short = config.wire_dtype == "bfloat16"
    size = 2 if short else 8 if config.precision == "float64" else 4
    sent = (parameters - moving) * size
    packs = math.ceil(sent / config.bytes_per_pack) if config.bytes_per_pack else 1
    reductions = packs + short + 2 * len(normed) * config.accumulate_steps
    return {"parameters": parameters, "bytes": sent, "reductions": reductions}


def _sizes(gradients: int) -> list[int]:
    """1 kB, 4 kB ... and the gradients' own size, in bytes."""
    smaller = [SMALL_BYTES * 4**power for power in range(9)]
    return [size for size in smaller if size < gradients / 2] + [gradients // 4 * 4]


def _scaling(
    config: Config, data: ImageData, built: Devices, together: _Together, seconds: float
) -> dict[str, Any]:
    """A global batch on all replicas.

    Returns:
        "batch" (global), "images" (of a replica), "step_s", "wait_s" (of it, for input), "alone_s"
        (a step on this worker's slowest replica when all train at once, each by itself).
    """
    timed = _Trainee(config, data, built, together.placement)
    step_s, wait_s = timed.run(together.mean(timed.warm()), seconds)
    timed.close()
    micro, replicas = config.accumulate_steps, together.placement.replicas
    images = rows_per_replica(config.batch_size, micro, replicas) * micro
    alone_s = step_s
    if replicas > 1:
        own = dataclasses.replace(config, batch_size=images)
        alone_s = _alone(own, data, built, together, seconds)
    return {
        "batch": config.batch_size,
        "images": images,
        "step_s": step_s,
        "wait_s": wait_s,
        "alone_s": alone_s,
    }


def _alone(
    config: Config, data: ImageData, built: Devices, together: _Together, seconds: float
) -> float:
    """Seconds a step of this worker's slowest replica, while all replicas train by themselves."""
    default = tf.distribute.get_strategy()
    trainees = [
        _Trainee(config, data, built, Placement(default, (name,), 0), name) for name in built.names
    ]
    with ThreadPoolExecutor(len(trainees)) as pool:
        about_s = list(pool.map(_Trainee.warm, trainees))
        together.wait()  # all begin at once
        timings = pool.map(_Trainee.run, trainees, about_s, itertools.repeat(seconds))
        steps_s = [step_s for step_s, _ in timings]
    together.wait()  # and go on till all have been timed
    for trainee in trainees:
        trainee.close()
    return max(steps_s)


class _Timing(NamedTuple):
    """Seconds of a step, and those of it in which it waited for input."""

    step_s: float
    wait_s: float


class _Trainee:
    """A network that trains on, block by block, as in a run, and is timed.

    Args:
        config: the flags, with this network's global batch.
        data: the images.
        built: the devices.
        placement: the replicas that train together.
        device: the device of a replica that trains alone; empty for all together.
    """

    def __init__(
        self,
        config: Config,
        data: ImageData,
        built: Devices,
        placement: Placement,
        device: str = "",
    ) -> None:
        self._order = parts.order(config, data)
        full = self._order.examples // config.batch_size
        self._block_steps = parts.plan(config, full, built.kind).block_steps
        trainset = Trainset(
            data.train,
            self._order,
            config.accumulate_steps,
            placement.replicas,
            self._block_steps,
        )
        how = parts.arithmetic(config, built, config.precision)
        self._device = device
        self._course = parts.course(config, self._order.steps_per_epoch)
        with self._here():
            network = parts.architecture(config, data, how)
            trained = state.build(placement.strategy, network, parts.rule(config))
            self._steps = Steps(placement.strategy, trained, parts.settings(config))
            blocks = parts.blocks(config, trainset, placement, built.kind)
        self._made = ahead(blocks, _ranges(self._order, self._block_steps))

    def warm(self) -> float:
        """A step to compile, and another, whose seconds are returned."""
        self._train(1)
        return sum(self._train(1))

    def run(self, about_s: float, seconds: float) -> _Timing:
        """The median of blocks of steps, and the mean time of a step that it waited.

        Args:
            about_s: what a step takes, the same on all replicas that train together.
            seconds: how long to train.
        """
        steps = max(1, min(self._block_steps, round(seconds / BLOCKS / about_s)))
        blocks = max(BLOCKS, math.ceil(seconds / (steps * about_s)))
        taken = [self._train(steps) for _ in range(blocks)]
        waits = statistics.mean(waited for waited, _ in taken)
        whole = statistics.median(waited + trained for waited, trained in taken)
        return _Timing(whole / steps, waits / steps)

    def close(self) -> None:
        """Ends the thread that makes blocks."""
        self._made.close()

    def _train(self, steps: int) -> tuple[float, float]:
        """A block's first steps; the seconds that it waited for the block, and those it trained."""
        began = time.perf_counter()
        numbers, block = next(self._made)
        came = time.perf_counter()
        rates = tf.constant([self._course.rate(step) for step in numbers], self._steps.dtype)
        told = tf.zeros([], self._steps.dtype)
        with self._here():
            self._steps.train(block, rates, tf.constant(steps), told).numpy()
        return came - began, time.perf_counter() - came

    def _here(self) -> contextlib.AbstractContextManager[Any]:
        return tf.device(self._device) if self._device else contextlib.nullcontext()


def _ranges(order: Order, block_steps: int) -> Iterator[range]:
    """Blocks of full batches, epoch after epoch."""
    blocks = order.examples // order.batch_size // block_steps
    for number in itertools.count():
        epoch, block = divmod(number, blocks)
        start = epoch * order.steps_per_epoch + block * block_steps
        yield range(start, start + block_steps)
