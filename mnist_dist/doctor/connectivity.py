"""The devices of a worker, and the time of an all-reduce over all replicas."""

from typing import Any

import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.config import Config
from mnist_dist.devices import all_reduce_timing, resources, strategy, timing_fit, visible
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import UsageError

SIZES_BYTES = tuple(1024 * 4**power for power in range(9))  # 1 kB to 64 MB


def tensorflow_build() -> tuple[dict[str, Any], int]:
    """Returns how TensorFlow was built, and how many GPUs it sees."""
    return tf.sysconfig.get_build_info(), len(tf.config.list_physical_devices("GPU"))


def devices(config: Config, num_workers: int) -> dict[str, Any]:
    """Returns this worker's devices, or why these flags allow none."""
    try:
        names = visible.local_devices(assembly.wanted(config), num_workers)
    except UsageError as error:
        return {"devices": [], "device_problem": str(error)}
    return {"devices": list(names), "device_problem": ""}


def build(
    config: Config, names: tuple[str, ...], workers: tuple[str, ...], rank: int, exact: bool
) -> strategy.Devices:
    """Builds the run's devices with those of the other workers.

    Args:
        config: the run's flags.
        names: this worker's devices.
        workers: host:port of each worker by rank; empty for one worker.
        rank: this worker's number.
        exact: whether operations are single-threaded, as with --shards.

    Raises:
        RunError: the workers can't connect.
    """
    wanted = assembly.wanted(config)
    if exact:
        wanted = wanted._replace(shards=wanted.shards or 1)
    return strategy.build(wanted, names, workers, rank, resources.cores())


def all_reduce(built: strategy.Devices, rank: int) -> dict[str, Any] | None:
    """Sums vectors of 1 kB to 64 MB over all replicas, as the gradients are summed.

    Returns:
        "bytes" and "seconds" (medians), and the fit seconds = alpha_s + bytes / beta_bytes_per_s;
        None for one replica.

    Raises:
        RunError: TensorFlow failed, or summed wrongly.
    """
    placement = ReplicaPlacement(built.strategy, built.names, rank)
    if placement.replicas == 1:
        return None
    seconds = all_reduce_timing.seconds(placement, SIZES_BYTES)
    alpha_s, bytes_per_s = timing_fit.alpha_beta(SIZES_BYTES, seconds)
    return {
        "replicas": placement.replicas,
        "bytes": list(SIZES_BYTES),
        "seconds": seconds,
        "alpha_s": alpha_s,
        "beta_bytes_per_s": bytes_per_s,
    }
