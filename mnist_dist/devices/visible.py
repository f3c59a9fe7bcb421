"""Which of this machine's devices a process may use: CPU, GPUs, or logical parts of either.

Call it before TensorFlow is used: the visible devices can be set only once.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.devices import arithmetic, nvidia, tensorflow_private
from mnist_dist.errors import UsageError

FREE_SHARE = 0.9  # the part of a card's free memory that logical devices share
LEAST_MIB = 512  # for a replica on a GPU: cuDNN, weights, a few images


class Wanted(NamedTuple):
    """The flags that choose the devices; each field is the flag of its name.

    Attributes:
        batch_size: the global batch; each replica needs at least one of its images.
        eager: run without a graph; some layouts need one.
        shards: fixed parts of the global batch; the number of replicas has to divide it.
        accumulate_steps: the groups in which a replica computes its shards.
        gpu_memory_mib: the most memory of a card that this process takes; 0: as it grows.
        xla: whether XLA compiles the steps.
        batch_norm: whether the network sums batch statistics over the replicas.
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
    nondeterministic: bool
    gpu_memory_mib: int
    xla: str
    batch_norm: bool


def local_devices(wanted: Wanted, num_workers: int) -> tuple[str, ...]:
    """Makes only the flags' devices visible to TensorFlow.

    Returns:
        This worker's replicas' devices: "/gpu:N" or "/cpu:N".

    Raises:
        UsageError: a GPU that isn't there, more than one replica where one was asked for, or
            other devices than this process has trained on before.
    """
    found = tf.config.list_physical_devices("GPU")
    gpus = [] if wanted.no_gpu else nvidia.chosen(wanted.gpus, len(found))
    if gpus and wanted.virtual_devices:
        gpus = _one_card(wanted, gpus)
    on_gpu = bool(gpus)
    with set_once("devices"):
        if num_workers > 1 and tensorflow_private.is_initialized():
            raise RuntimeError("a process can become one of several workers only at its start")
        if num_workers == 1 and tensorflow_private.is_worker():
            raise RuntimeError("this process is one of several workers")
        tf.config.set_visible_devices([found[index] for index in gpus], "GPU")
        for index in gpus:
            _limit_memory(found[index], wanted, index)
        _cut_cpu(0 if on_gpu else wanted.virtual_devices)
    kind, number = ("gpu", len(gpus)) if on_gpu else ("cpu", 1)
    names = tuple(f"/{kind}:{index}" for index in range(wanted.virtual_devices or number))
    _check(wanted, names, num_workers)
    capability = arithmetic.capability(names)
    arithmetic.check(wanted.precision, wanted.data_format, capability, wanted.eager)
    arithmetic.make_deterministic(capability, wanted.nondeterministic)
    return names


def _one_card(wanted: Wanted, gpus: list[int]) -> list[int]:
    """The card that is divided into logical devices: that of --gpus, else the first."""
    if wanted.gpus and len(gpus) > 1:
        raise UsageError(
            f"--gpus={wanted.gpus} with --virtual_devices={wanted.virtual_devices}: logical "
            "devices are parts of one card; give one, such as --gpus=0,"
        )
    return gpus[:1]


def _limit_memory(gpu: Any, wanted: Wanted, index: int) -> None:
    """Sets a card's memory: growing, up to --gpu_memory_mib, or divided for logical devices."""
    parts, limit = wanted.virtual_devices or 1, wanted.gpu_memory_mib
    if parts == 1 and not limit:
        tf.config.experimental.set_memory_growth(gpu, True)
        return
    if not limit:
        cards = nvidia.cards()
        if index >= len(cards):
            raise UsageError(
                f"--virtual_devices={parts} on a GPU whose free memory NVIDIA's library doesn't "
                "tell; say how much to cut up with --gpu_memory_mib"
            )
        free = cards[index].memory_bytes - cards[index].used_bytes
        limit = int(FREE_SHARE * free) // nvidia.MIB
    if limit < parts * LEAST_MIB:
        raise UsageError(
            f"{limit} MiB of GPU memory for {parts} device(s) is too little, each needs "
            f"{LEAST_MIB}; give a larger --gpu_memory_mib, or fewer --virtual_devices"
        )
    one = tf.config.LogicalDeviceConfiguration(memory_limit=limit // parts)
    tf.config.set_logical_device_configuration(gpu, [one] * parts)


def _cut_cpu(parts: int) -> None:
    """Makes that many logical devices of the CPU; 0 leaves it whole."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if parts or tf.config.get_logical_device_configuration(cpu):
        logical = [tf.config.LogicalDeviceConfiguration()] * max(parts, 1)
        tf.config.set_logical_device_configuration(cpu, logical)


@contextlib.contextmanager
def set_once(what: str) -> Iterator[None]:
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
    if wanted.xla == "on" and wanted.batch_norm and replicas > 1:
        raise UsageError(
            f"--xla=on with --batch_norm and {replicas} replicas: XLA compiles each replica's "
            "gradients by themselves, and batch statistics are sums over all replicas; leave out "
            "one of the two, or choose one device (--gpus=0,)"
        )
    if wanted.shards:
        _check_shards(wanted, replicas)
    if wanted.collective == "nccl" and names[0].startswith("/cpu"):
        raise UsageError(
            "--collective=nccl is for NVIDIA GPUs and these replicas are on the CPU; give ring"
        )
    if wanted.collective == "nccl" and wanted.virtual_devices:
        raise UsageError(
            f"--collective=nccl with --virtual_devices={wanted.virtual_devices}: NCCL refuses two "
            "replicas on one card; give ring"
        )


def _check_shards(wanted: Wanted, replicas: int) -> None:
    if wanted.shards % replicas:
        fit = [str(2**power) for power in range(wanted.shards.bit_length())]
        raise UsageError(
            f"--shards={wanted.shards} over {replicas} replicas: the shards can't be divided "
            f"evenly; run on {', '.join(fit)}, or give other --shards"
        )
    if wanted.shards // replicas % wanted.accumulate_steps:
        raise UsageError(
            f"--accumulate_steps={wanted.accumulate_steps} with {wanted.shards // replicas} of "
            f"--shards={wanted.shards} on each of {replicas} replicas: whole shards are computed "
            f"one after another; give --accumulate_steps a power of two up to "
            f"{wanted.shards // replicas}, or more shards"
        )
