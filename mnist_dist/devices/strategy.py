"""Builds TensorFlow's strategy from devices and topology: threads and communication.

Call it before TensorFlow is used: the number of threads can be set only once.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from mnist_dist.devices import arithmetic, multi_worker
from mnist_dist.devices.arithmetic import Capability
from mnist_dist.devices.visible import Wanted, set_once
from mnist_dist.errors import RunError


class Devices(NamedTuple):
    """Where the replicas run.

    Attributes:
        strategy: TensorFlow's strategy over all replicas of all workers.
        names: this worker's devices, such as ("/gpu:0", "/gpu:1").
        capability: the GPUs' compute capability.
        notes: lines for the log on what was chosen.
    """

    strategy: tf.distribute.Strategy
    names: tuple[str, ...]
    capability: Capability
    notes: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The replicas' kind of device: "cpu" or "gpu"."""
        return self.names[0].split(":")[0].strip("/")


def build(
    wanted: Wanted,
    names: tuple[str, ...],
    workers: tuple[str, ...],
    rank: int,
    threads: int,
) -> Devices:
    """Builds the strategy over all workers; with several, waits until all have joined.

    Args:
        wanted: the flags that choose the devices.
        names: this worker's devices, from `local_devices`.
        workers: host:port of each by rank; empty for this process alone.
        rank: this worker's number.
        threads: threads for TensorFlow's computations in this process.

    Raises:
        UsageError: this process has used TensorFlow with other threads.
        RunError: TensorFlow uses other devices than these.
    """
    # The number of threads changes the order of summation within an operation. TensorFlow's graph
    # optimizer changes the order, too: it merges a chain of sums into an AddN, which adds in the
    # order that memory comes free, and it moves constants between products differently by device.
    with set_once("threads"):
        tf.config.threading.set_intra_op_parallelism_threads(1 if wanted.shards else threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(threads, 2 * len(names)))
    tf.config.optimizer.set_experimental_options(
        {"arithmetic_optimization": False, "constant_folding": False}
    )
    strategy = _strategy(wanted, names, workers, rank)
    expected = len(names) * max(len(workers), 1)
    if strategy.num_replicas_in_sync != expected:
        raise RunError(
            f"worker {rank}: TensorFlow made {strategy.num_replicas_in_sync} replicas, not "
            f"{expected}, of {len(names)} device(s) on each of {max(len(workers), 1)} worker(s)"
        )
    notes: tuple[str, ...] = ()
    if wanted.virtual_devices and names[0].startswith("/gpu"):
        notes = (
            f"The {len(names)} replicas are logical devices of one GPU, which NCCL refuses: the "
            "reduction is ring.",
        )
    return Devices(strategy, names, arithmetic.capability(names), notes)


def _strategy(
    wanted: Wanted,
    names: tuple[str, ...],
    workers: tuple[str, ...],
    rank: int,
) -> tf.distribute.Strategy:
    on_gpu = names[0].startswith("/gpu")
    collective = "ring" if on_gpu and wanted.virtual_devices else wanted.collective
    kinds = tf.distribute.experimental.CommunicationImplementation
    kind = {"auto": kinds.AUTO, "ring": kinds.RING, "nccl": kinds.NCCL}[collective]
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=wanted.bytes_per_pack, implementation=kind
    )
    if len(workers) > 1:
        cpu_devices = 0 if on_gpu else len(names)
        return multi_worker.build(workers, rank, cpu_devices, options)
    if len(names) > 1:
        reduction = (
            tf.distribute.NcclAllReduce(num_packs=1)
            if on_gpu and collective != "ring"
            else tf.distribute.ReductionToOneDevice(accumulation_fn=in_order)
        )
        return tf.distribute.MirroredStrategy(list(names), cross_device_ops=reduction)
    return tf.distribute.get_strategy()


def in_order(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum, first to last.

    TensorFlow's AddN begins with an input whose memory it may reuse, so its order varies.
    """
    return functools.reduce(tf.add, values)
