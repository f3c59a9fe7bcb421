"""Measures some replicas: their training, the training of each alone, and their all-reduce."""

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from mnist_dist import assembly, auto_precision, numerics
from mnist_dist.bench import product_timing
from mnist_dist.bench.plan import Task
from mnist_dist.bench.timed_training import AllReplicas, TimedTraining
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.data.order import rows_per_replica
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import all_reduce_timing, hardware, resources, strategy, visible
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.devices.strategy import Devices
from mnist_dist.errors import UsageError
from mnist_dist.network.architecture import Stage
from mnist_dist.network.own_file import OwnArchitecture
from mnist_dist.training import reduce_plan

SMALL_BYTES = 1024


def measure(config: Config, task: Task) -> dict[str, Any]:
    """Measures the replicas of a task.

    Args:
        config: the run's flags; --batch_size is the batch of a replica in weak scaling, and the
            global batch in strong scaling.
        task: the replicas.

    Returns:
        "devices" (number of this worker's devices, used or not), their "kind" and "hardware",
        "precision", "cores", "parameters", "bytes" (of the gradients as products), "sending" (a
        Sending), "product_row_s" (see model.Step), "weak" and "strong" (see `_scaling`),
        "all_reduce" ("bytes" and "seconds"; None for one replica).

    Raises:
        UsageError, RunError: as in a training with these flags.
    """
    wanted = assembly.wanted(config)
    names = visible.local_devices(wanted, max(len(task.workers), 1))
    used = names[: task.devices or 1]
    built = strategy.build(wanted, used, task.workers, task.rank, resources.cores())
    all_replicas = AllReplicas(ReplicaPlacement(built.strategy, used, task.rank))
    data = sources.load(*config.data_flags)
    config = dataclasses.replace(config, precision=_precision(config, data, built))
    replicas = all_replicas.placement.replicas
    found: dict[str, Any] = {
        "devices": len(names),
        "kind": built.kind,
        "hardware": _hardware(used[0]),
        "precision": config.precision,
        "cores": resources.cores(),
        "all_reduce": None,
        "product_row_s": 0.0,
    }
    stages = _stages(config, data, built)
    sending = assembly.sending(config, reduce_plan.of_stages(stages), built, replicas)
    whole = sending.plan(0).product_bytes
    found |= {"parameters": sum(stage.parameters for stage in stages), "bytes": whole}
    found["sending"] = sending
    weak = dataclasses.replace(config, batch_size=_weak_batch(config, data, replicas))
    found["weak"] = _scaling(weak, data, built, all_replicas, task.seconds)
    found["strong"] = found["weak"]
    if replicas > 1:
        found["strong"] = _scaling(config, data, built, all_replicas, task.seconds)
        sizes = _sizes(whole, *(found[way]["bytes"] for way in ("weak", "strong")))
        plans = [assembly.reduction(one, sending, replicas) for one in (weak, config)]
        factored = next((plan for plan in plans if plan.factored), None)
        if factored:
            found["product_row_s"] = product_timing.row_seconds(
                all_replicas.placement, factored, all_replicas.wait
            )
        seconds = all_reduce_timing.seconds(all_replicas.placement, sizes)
        found["all_reduce"] = {"bytes": sizes, "seconds": seconds}
    return found


def _hardware(device: str) -> str:
    """Returns the name of the GPU or CPU."""
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
    """Resolves --precision=auto; later levels get the result as a flag."""
    if config.precision != "auto":
        return config.precision
    return auto_precision.precision(config, data, built, replicas=1)[0]


def _stages(config: Config, data: ImageData, built: Devices) -> list[Stage]:
    arithmetic = numerics.arithmetic(config, built)
    network = assembly.architecture(config, data, arithmetic)
    if isinstance(network, OwnArchitecture):
        raise UsageError(f"{network.flag}: the bench is for the built-in network; leave it out")
    return network.stages


def _sizes(gradients: int, *sent: int) -> list[int]:
    """Returns 1 kB, 4 kB ... to the gradients' own size, and what is sent in a step, in bytes."""
    smaller = [SMALL_BYTES * 4**power for power in range(9)]
    own = {size // 4 * 4 for size in (gradients, *sent)}
    return sorted(own.union(size for size in smaller if size < gradients / 2))


def _scaling(
    config: Config, data: ImageData, built: Devices, all_replicas: AllReplicas, seconds: float
) -> dict[str, Any]:
    """A global batch on all replicas.

    Returns:
        "batch" (global), "images" (of a replica), "bytes" (of gradients, as a step sends them; 0
        for one replica), "gathered_bytes" (each replica's share, if they gather; else 0),
        "step_s", "wait_s" (of it, for input), "alone_s" (a step of this worker's slowest replica
        while all replicas train, each by itself).
    """
    timed = TimedTraining(config, data, built, all_replicas.placement)
    step_s, wait_s = timed.run(all_replicas.mean(timed.warm()), seconds)
    timed.close()
    micro, replicas = config.accumulate_steps, all_replicas.placement.replicas
    images = rows_per_replica(config.batch_size, micro, replicas) * micro
    alone_s = step_s
    if replicas > 1:
        own = dataclasses.replace(config, batch_size=images)
        alone_s = _alone(own, data, built, all_replicas, seconds)
    return {
        "batch": config.batch_size,
        "images": images,
        "step_s": step_s,
        "wait_s": wait_s,
        "alone_s": alone_s,
        "bytes": timed.sent.bytes,
        "gathered_bytes": round(timed.sent.share(replicas)) if timed.sent.gather else 0,
    }


def _alone(
    config: Config, data: ImageData, built: Devices, all_replicas: AllReplicas, seconds: float
) -> float:
    """Returns the seconds per step of the slowest replica while all train by themselves."""
    default = tf.distribute.get_strategy()
    trainings = [
        TimedTraining(config, data, built, ReplicaPlacement(default, (name,), 0), name)
        for name in built.names
    ]
    with ThreadPoolExecutor(len(trainings)) as pool:
        about_s = list(pool.map(TimedTraining.warm, trainings))
        all_replicas.wait()  # all begin at the same time
        timings = pool.map(TimedTraining.run, trainings, about_s, itertools.repeat(seconds))
        steps_s = [step_s for step_s, _ in timings]
    all_replicas.wait()  # and train until all have been timed
    for training in trainings:
        training.close()
    return max(steps_s)
