"""From devices and topology to TensorFlow's strategy: threads, communication.

This module alone knows how many replicas there are and what they run on. TensorFlow must not
have been used before it: threads can be set only once.
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
        capability: of its GPUs.
        notes: what the log says of the choice, a line each.
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
    """The strategy over all workers; with several, this waits for them to come.

    Args:
        wanted: what the flags ask for.
        names: this worker's devices, from `local_devices`.
        workers: host:port of each by rank; empty for this process alone.
        rank: this worker's number.
        threads: cores for TensorFlow's computations in this process.

    Raises:
        UsageError: this process has used TensorFlow with other threads.
        RunError: TensorFlow uses other devices than these.
    """
    # An operation cuts its sums by the number of its threads. The optimizer of graphs makes one
    # AddN of a chain of sums, which adds its inputs in the order that memory comes free, and moves
    # constants from product to product, on one device otherwise than on another.
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
    """The sum, first to last. TensorFlow's own AddN takes another order now and then: it begins
    with an input whose memory it may use, which depends on what else has finished.
    """
    return functools.reduce(tf.add, values)
