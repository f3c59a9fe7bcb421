"""Builds what computes a training step from the flags. No later stage sees the flags as a whole."""

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from mnist_dist import numerics
from mnist_dist.cluster.rendezvous import Terms
from mnist_dist.config import Config
from mnist_dist.data import device_blocks
from mnist_dist.data.checking import Checking
from mnist_dist.data.device_blocks import Blocks
from mnist_dist.data.order import Order, rows_of_step
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import nvidia
from mnist_dist.devices.arithmetic import Arithmetic
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.devices.strategy import Devices
from mnist_dist.devices.visible import Wanted
from mnist_dist.errors import UsageError
from mnist_dist.network import own_file
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.own_file import OwnArchitecture
from mnist_dist.optimizers import OPTIMIZERS
from mnist_dist.run.versions import versions
from mnist_dist.training import reduce_plan, state
from mnist_dist.training.optim import OptimizerSettings
from mnist_dist.training.plan import Plan
from mnist_dist.training.reduce_plan import Gradients, ReducePlan, Sending
from mnist_dist.training.replica import Settings
from mnist_dist.training.schedule import LearningRateSchedule
from mnist_dist.training.state import State
from mnist_dist.training.steps import Steps

BLOCK_STEPS = {"cpu": 10, "gpu": 50}  # longer blocks gain nothing measurable on a CPU


def wanted(config: Config) -> Wanted:
    """The flags that choose the devices."""
    return Wanted(**{name: getattr(config, name) for name in Wanted._fields})


def terms(config: Config) -> Terms:
    """How the workers meet: time limits, and what has to be equal on all of them."""
    flags = {name: str(value) for name, value in config.as_dict().items()}
    fingerprints = {"flags": flags, "versions": versions()}
    limits = config.connect_timeout, config.peer_timeout
    return Terms(*limits, config.interface, fingerprints, config.meeting_folder)


class Assembly(NamedTuple):
    """All that computes a run's training steps.

    Attributes:
        order: the order of the training examples.
        plan: how long the run is, and when it logs, evaluates and saves.
        schedule: the learning rate of each step.
        trainset: the training images, divided over steps, replicas and micro-batches.
        arithmetic: precision, layout and kernels.
        architecture: the network's shape.
        state: the network's and the optimizer's variables.
        reduce: what is sent to sum the gradients over the replicas.
        steps: the compiled training and evaluation.
        checking: which steps compute a part twice; None for none.
    """

    order: Order
    plan: Plan
    schedule: LearningRateSchedule
    trainset: Trainset
    arithmetic: Arithmetic
    architecture: Architecture | OwnArchitecture
    state: State
    reduce: ReducePlan
    steps: Steps
    checking: Checking | None


def assemble(  # noqa: PLR0913
    config: Config,
    data: ImageData,
    devices: Devices,
    strategy: tf.distribute.Strategy | None = None,
    block_steps: int = 0,
    workers_per_host: int = 1,
) -> Assembly:
    """Builds everything that a training step needs.

    Args:
        config: the flags, with a precision that isn't "auto".
        data: the images.
        devices: this worker's devices.
        strategy: another strategy than that of the devices, such as that of one replica alone.
        block_steps: global steps in a full block; 0: as the flags say.
        workers_per_host: see Checking.

    Raises:
        UsageError: flags that don't fit the data or the devices.
    """
    strategy = strategy or devices.strategy
    ordered = order(config, data)
    planned = plan(config, ordered.steps_per_epoch, devices.kind)
    replicas = strategy.num_replicas_in_sync
    computed = numerics.arithmetic(config, devices)
    network = architecture(config, data, computed)
    built = state.build(strategy, network, optimizer(config))
    sent = sending(config, gradients(network, built), devices, replicas)
    reduce = reduction(config, sent, replicas)
    checked = checking(config, replicas, len(devices.names), workers_per_host)
    xla = numerics.compiled_as(config, computed, replicas)
    step = settings(config)._replace(
        xla=xla, factored=reduce.names, checking=checked, gather=reduce.gather
    )
    return Assembly(
        order=ordered,
        plan=planned,
        schedule=schedule(config, ordered.steps_per_epoch),
        trainset=Trainset(
            data.train,
            ordered,
            config.accumulate_steps,
            replicas,
            block_steps or planned.block_steps,
            config.shards,
            checked,
        ),
        arithmetic=computed,
        architecture=network,
        state=built,
        reduce=reduce,
        steps=Steps(strategy, built, step),
        checking=checked,
    )


def order(config: Config, data: ImageData) -> Order:
    """The order of the training examples.

    Raises:
        UsageError: the global batch is larger than the training set.
    """
    examples = len(data.train.labels)
    if config.batch_size > examples:
        raise UsageError(
            f"--batch_size={config.batch_size} is more than the training set has images, "
            f"{examples}; give at most that"
        )
    return Order(config.seed, examples, config.batch_size)


def plan(config: Config, steps_per_epoch: int, kind: str) -> Plan:
    """How long the run is, and when it logs, evaluates and saves; `kind` is cpu or gpu."""
    return Plan(
        epochs=config.epochs,
        max_steps=config.max_steps,
        steps_per_epoch=steps_per_epoch,
        block_steps=min(config.steps_per_loop or BLOCK_STEPS[kind], steps_per_epoch),
        checkpoint_every_steps=config.checkpoint_every_steps,
        log_interval=config.log_interval,
        checkpoint_every_s=config.checkpoint_every_s,
        profiled=config.profiled,
    )


def schedule(config: Config, steps_per_epoch: int) -> LearningRateSchedule:
    """The learning rate of each step."""
    total = config.epochs * steps_per_epoch
    return LearningRateSchedule(config.lr, config.schedule, config.warmup_steps, total)


def architecture(
    config: Config, data: ImageData, arithmetic: Arithmetic
) -> Architecture | OwnArchitecture:
    """The network for the data's images and classes, in this arithmetic.

    Raises:
        UsageError: the file of --network can't be read.
    """
    flags, image_shape = config.as_dict(), data.train.images.shape[1:]
    if config.network:
        how = {"precision": arithmetic.layers, "seed": config.seed}
        return own_file.read(config.network, image_shape, data.num_classes, **how)
    shape = Architecture.from_flags(flags, image_shape, data.num_classes)
    return dataclasses.replace(
        shape,
        channels_first=arithmetic.channels_first,
        precision=arithmetic.layers,
    )


def optimizer(config: Config) -> OptimizerSettings:
    """How the weights are updated."""
    flags = {name: getattr(config, name) for name in OPTIMIZERS[config.optimizer].flags}
    return OptimizerSettings(config.optimizer, flags, config.weight_decay, config.ema)


def gradients(architecture: Architecture | OwnArchitecture, built: State) -> Gradients:
    """The sizes of a network's gradients; a user's own is summed as products only."""
    if isinstance(architecture, Architecture):
        return reduce_plan.of_stages(architecture.stages)
    network = built.network
    return Gradients(sum(math.prod(network.variables[name].shape) for name in network.trainable))


def sending(config: Config, sizes: Gradients, devices: Devices, replicas: int) -> Sending:
    """How the gradients are sent that are summed over the replicas.

    Within one process nothing crosses a network, and on GPUs neither factors nor gathering have
    been measured: there --reduce=auto is the product, and all is an all-reduce.
    """
    several_workers = replicas > len(devices.names)
    network_of_cpus = several_workers and devices.kind == "cpu"
    auto = config.reduce == "auto" and network_of_cpus
    if config.shards and config.xla == "on":
        auto = False  # a product of XLA's has other bits
    full = 8 if config.precision == "float64" else 4
    short = config.wire_dtype == "bfloat16"
    return Sending(
        sizes,
        number_bytes=2 if short else full,
        factors=auto or config.reduce == "factors",
        bytes_per_pack=config.bytes_per_pack,
        # Each normalisation of each micro-batch sums statistics, forward and backward.
        small=short + 2 * sizes.norms * (1 if config.shards else config.accumulate_steps),
        # TensorFlow gathers no bfloat16, and hangs where a worker has several devices.
        may_gather=network_of_cpus
        and len(devices.names) == 1
        and not (short or config.bytes_per_pack or config.eager),
    )


def reduction(config: Config, sent: Sending, replicas: int) -> ReducePlan:
    """What is sent in a step; with one replica nothing."""
    if replicas == 1:
        return ReducePlan()
    batch, micro_batches = config.batch_size, config.accumulate_steps
    return sent.plan(rows_of_step(batch, micro_batches, config.shards, replicas), replicas)


def checking(config: Config, replicas: int, devices: int, workers_per_host: int) -> Checking | None:
    """Which steps compute a part twice, on a number of replicas in all; None for none.

    Args:
        config: the flags.
        replicas: over all workers.
        devices: of each worker; a strategy of one replica uses one of them.
        workers_per_host: see Checking.
    """
    if not config.check_every_steps:
        return None
    devices = min(devices, replicas)
    shards = config.shards // replicas // config.accumulate_steps
    workers = replicas // devices
    return Checking(
        config.check_every_steps, config.seed, workers, devices, shards, workers_per_host
    )


def settings(config: Config) -> Settings:
    """How a step is computed by TensorFlow's operations, with gradients summed as products."""
    return Settings(
        seed=config.seed,
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm,
        wire_dtype=config.wire_dtype,
        augmentation=Augmentation(config.shift_px, config.rotate_deg, config.zoom),
        eager=config.eager,
        shards=config.shards,
        accumulate_steps=config.accumulate_steps,
        digest_every_steps=config.digest_every_steps,
    )


def blocks(config: Config, trainset: Trainset, placement: ReplicaPlacement, kind: str) -> Blocks:
    """How blocks get to the devices: a GPU keeps the whole training set if it fits."""
    cards = nvidia.cards() if kind == "gpu" else ()
    memory_bytes = config.gpu_memory_mib * nvidia.MIB or min(
        (card.memory_bytes for card in cards), default=0
    )
    if kind == "gpu" and device_blocks.fits(
        trainset, memory_bytes // (config.virtual_devices or 1)
    ):
        return device_blocks.on_devices(trainset, placement)
    return device_blocks.from_host(trainset, placement)
