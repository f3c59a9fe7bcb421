"""From flags and topology to TensorFlow's strategy: devices, threads, precision, communication.

This module alone knows how many replicas there are and what they run on. TensorFlow must not
have been used before it: devices and threads can be set only once.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

from mnist_dist.devices import hardware, multi_worker
from mnist_dist.errors import RunError, UsageError


class Wanted(NamedTuple):
    """What the flags ask for; each field is the flag of its name.

    Attributes:
        batch_size: the global batch, of which each replica is to have an image.
        eager: no graph, which some layouts of images need.
        shards: fixed parts of the global batch, of which each replica is to have as many.
        accumulate_steps: groups in which a replica computes its shards.
    """

    no_gpu: bool
    gpus: str
    virtual_devices: int
    strategy: str
    collective: str
    bytes_per_pack: int
    precision: str
    data_format: str
    batch_size: int
    eager: bool
    shards: int
    accumulate_steps: int


class Devices(NamedTuple):
    """Where the replicas run.

    Attributes:
        strategy: TensorFlow's strategy over all replicas of all workers.
        names: this worker's devices, such as ("/gpu:0", "/gpu:1").
        channels_first: the layout of images inside the network.
        precision: Keras's name of the layers' arithmetic.
        notes: what "auto" chose and why, a line each.
    """

    strategy: tf.distribute.Strategy
    names: tuple[str, ...]
    channels_first: bool
    precision: str
    notes: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The replicas' kind of device: "cpu" or "gpu"."""
        return self.names[0].split(":")[0].strip("/")

    @property
    def arithmetic(self) -> dict[str, str]:
        """What decides the last bits beyond the flags: name -> value."""
        layout = "channels_first" if self.channels_first else "channels_last"
        return {"data_format": layout, **hardware.arithmetic(self.names[0])}


def local_devices(wanted: Wanted, num_workers: int) -> tuple[str, ...]:
    """Makes the flags' devices visible, and no others.

    Returns:
        This worker's replicas' devices: "/gpu:N" or "/cpu:N".

    Raises:
        UsageError: a GPU that isn't there, more than one replica where one was asked for, or
            other devices than this process has trained on before.
    """
    found = tf.config.list_physical_devices("GPU")
    gpus = [] if wanted.no_gpu or wanted.virtual_devices else _chosen(wanted.gpus, len(found))
    cpu = tf.config.list_physical_devices("CPU")[0]
    with _set_once("devices"):
        if num_workers > 1 and multi_worker.started():
            raise RuntimeError("only a process that begins with it can be one of several workers")
        if num_workers == 1 and multi_worker.joined():
            raise RuntimeError("this process is one of several workers")
        tf.config.set_visible_devices([found[index] for index in gpus], "GPU")
        for index in gpus:
            tf.config.experimental.set_memory_growth(found[index], True)
        if wanted.virtual_devices or tf.config.get_logical_device_configuration(cpu):
            logical = [tf.config.LogicalDeviceConfiguration()] * max(wanted.virtual_devices, 1)
            tf.config.set_logical_device_configuration(cpu, logical)
    names = tuple(f"/gpu:{number}" for number in range(len(gpus)))
    names = names or tuple(f"/cpu:{number}" for number in range(wanted.virtual_devices or 1))
    _check(wanted, names, num_workers)
    return names


def build(
    wanted: Wanted,
    names: tuple[str, ...],
    workers: tuple[str, ...],
    rank: int,
    threads: int,
    peer_timeout_s: float,
) -> Devices:
    """The strategy over all workers; with several, this waits for them to come.

    Args:
        wanted: what the flags ask for.
        names: this worker's devices, from `local_devices`.
        workers: host:port of each by rank; empty for this process alone.
        rank: this worker's number.
        threads: cores for TensorFlow's computations in this process.
        peer_timeout_s: silence after which a worker counts as lost.

    Raises:
        UsageError: a layout of images that these devices can't train with.
        RunError: TensorFlow uses other devices than these.
    """
    # An operation cuts its sums by the number of its threads, and the optimizer of graphs makes
    # one long sum of a tree of them.
    with _set_once("threads"):
        tf.config.threading.set_intra_op_parallelism_threads(1 if wanted.shards else threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(threads, 2 * len(names)))
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": not wanted.shards})
    notes = []
    precision = wanted.precision
    if precision == "auto":
        precision, why = _auto_precision(names)
        notes.append(f"--precision=auto: {precision}, because {why}")
    on_gpu = names[0].startswith("/gpu")
    channels_first = wanted.data_format == "channels_first"
    if wanted.data_format == "auto":
        channels_first = on_gpu
    # Without a graph, and in what oneDNN doesn't have, a CPU can't train in this layout.
    for flag, given in (
        ("--eager", wanted.eager),
        (f"--precision={precision}", precision in ("float64", "mixed_float16")),
        ("TF_ENABLE_ONEDNN_OPTS=0", not _pywrap_util_port.IsMklEnabled()),
    ):
        if channels_first and not on_gpu and given:
            raise UsageError(
                f"--data_format=channels_first with {flag}: TensorFlow has no such max-pool on a "
                "CPU; leave out one of the two"
            )
    strategy = _strategy(wanted, names, workers, rank, peer_timeout_s)
    expected = len(names) * max(len(workers), 1)
    if strategy.num_replicas_in_sync != expected:
        raise RunError(
            f"worker {rank}: TensorFlow made {strategy.num_replicas_in_sync} replicas, not "
            f"{expected}, of {len(names)} device(s) on each of {max(len(workers), 1)} worker(s)"
        )
    return Devices(strategy, names, channels_first, precision, tuple(notes))


@contextlib.contextmanager
def _set_once(what: str) -> Iterator[None]:
    """Raises UsageError where TensorFlow refuses what it lets a process set only once."""
    try:
        yield
    except RuntimeError as error:
        raise UsageError(
            f"this process has already used TensorFlow with other {what} "
            f"({' '.join(str(error).split())}); start a new process for this run"
        ) from error


def _check(wanted: Wanted, names: tuple[str, ...], num_workers: int) -> None:
    replicas = len(names) * num_workers
    if wanted.strategy == "one" and replicas > 1:
        raise UsageError(
            f"--strategy=one with {replicas} replicas: it trains on one; "
            "choose one device (--gpus=0, or --gpus=0, for the first), or leave --strategy out"
        )
    if wanted.strategy == "mirrored" and (len(names) < 2 or num_workers > 1):
        raise UsageError(
            f"--strategy=mirrored with {num_workers} worker(s) of {len(names)} device(s): it is "
            "for several devices of one worker; give --gpus or --virtual_devices, or leave it out"
        )
    if wanted.strategy == "multi_worker" and num_workers < 2:
        raise UsageError(
            "--strategy=multi_worker with one worker: set TF_CONFIG in each of several processes, "
            "or start them with srun or launch/local.sh"
        )
    if replicas > wanted.batch_size:
        raise UsageError(
            f"--batch_size={wanted.batch_size} over {replicas} replicas leaves some without an "
            f"image; give a global batch of at least {replicas}, or fewer replicas"
        )
    if wanted.shards:
        _check_shards(wanted, replicas)
    if wanted.collective == "nccl" and names[0].startswith("/cpu"):
        raise UsageError(
            "--collective=nccl is for NVIDIA GPUs and these replicas are on the CPU; give ring"
        )


def _check_shards(wanted: Wanted, replicas: int) -> None:
    if wanted.shards % replicas:
        fit = [str(2**power) for power in range(wanted.shards.bit_length())]
        raise UsageError(
            f"--shards={wanted.shards} over {replicas} replicas: each is to have as many shards; "
            f"run on {', '.join(fit)}, or give other --shards"
        )
    if wanted.shards // replicas % wanted.accumulate_steps:
        raise UsageError(
            f"--accumulate_steps={wanted.accumulate_steps} with {wanted.shards // replicas} of "
            f"--shards={wanted.shards} on each of {replicas} replicas: whole shards are computed "
            f"one after another; give --accumulate_steps a power of two up to "
            f"{wanted.shards // replicas}, or more shards"
        )


def _chosen(text: str, count: int) -> list[int]:
    """Indices of the GPUs that --gpus asks for: all, a count, or a list with a comma."""
    there = f"this machine shows {count} GPU(s) to TensorFlow"
    if not text:
        return list(range(count))
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise UsageError(f"--gpus={text}: give a count, or indices such as 0,2") from error
    indices = numbers if "," in text else list(range(numbers[0]))
    if not indices or min(numbers) < 0 or len(set(indices)) < len(indices):
        raise UsageError(f"--gpus={text}: give a count from 1, or different indices such as 0,2")
    if max(indices) >= count:
        raise UsageError(f"--gpus={text}: {there}; ask for those, or give --no_gpu")
    return indices


def _strategy(
    wanted: Wanted,
    names: tuple[str, ...],
    workers: tuple[str, ...],
    rank: int,
    peer_timeout_s: float,
) -> tf.distribute.Strategy:
    kinds = tf.distribute.experimental.CommunicationImplementation
    kind = {"auto": kinds.AUTO, "ring": kinds.RING, "nccl": kinds.NCCL}[wanted.collective]
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=wanted.bytes_per_pack, implementation=kind
    )
    if len(workers) > 1:
        cpu_devices = len(names) if names[0].startswith("/cpu") else 0
        return multi_worker.build(workers, rank, cpu_devices, peer_timeout_s, options)
    if len(names) > 1:
        on_gpu = names[0].startswith("/gpu") and wanted.collective != "ring"
        reduction = (
            tf.distribute.NcclAllReduce(num_packs=1)
            if on_gpu
            else tf.distribute.ReductionToOneDevice()
        )
        return tf.distribute.MirroredStrategy(list(names), cross_device_ops=reduction)
    return tf.distribute.get_strategy()


def _auto_precision(names: tuple[str, ...]) -> tuple[str, str]:
    """The fastest arithmetic that trains like float32, and why it is."""
    if names[0].startswith("/gpu"):
        gpu = tf.config.list_physical_devices("GPU")[0]
        major, minor = tf.config.experimental.get_device_details(gpu)["compute_capability"]
        if major >= 8:
            return "mixed_bfloat16", f"the GPU's compute capability is {major}.{minor}"
        if major >= 7:
            return "mixed_float16", f"compute capability {major}.{minor} has float16 tensor cores"
        return "float32", f"compute capability {major}.{minor} has no tensor cores"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if "avx512_bf16" in flags:
        return "mixed_bfloat16", "the CPU has AVX512-BF16"
    return "float32", "the CPU has no AVX512-BF16"
