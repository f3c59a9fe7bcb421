"""Takes a Config apart: what each stage of a run gets of it. No stage sees the whole."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import tensorflow as tf

from mnist_dist.cluster.job import Job
from mnist_dist.cluster.session import Terms
from mnist_dist.config import Config
from mnist_dist.data import device_blocks
from mnist_dist.data.device_blocks import Blocks
from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import hardware, nvidia
from mnist_dist.devices.arithmetic import Arithmetic, compiled, settle
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.devices.strategy import Devices
from mnist_dist.devices.visible import Wanted
from mnist_dist.errors import UsageError
from mnist_dist.flags import command_line
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.augment import Augmentation
from mnist_dist.run import lock
from mnist_dist.run.checkpoint import Checkpoints
from mnist_dist.run.console import Console
from mnist_dist.run.events import Events
from mnist_dist.run.owner import Owner
from mnist_dist.run.trace import Trace
from mnist_dist.run.versions import versions
from mnist_dist.training import optim
from mnist_dist.training.early_stopping import EarlyStopping
from mnist_dist.training.loop import Files
from mnist_dist.training.plan import Plan
from mnist_dist.training.replica import Settings
from mnist_dist.training.save_deadline import SaveDeadlineCheck
from mnist_dist.training.schedule import LearningRateSchedule

BLOCK_STEPS = {"cpu": 10, "gpu": 50}  # more gain nothing that can be measured on a CPU


def wanted(config: Config) -> Wanted:
    """What the devices are chosen by."""
    return Wanted(**{name: getattr(config, name) for name in Wanted._fields})


def terms(config: Config) -> Terms:
    """On what terms the workers meet: the same flags and versions on all."""
    flags = {name: str(value) for name, value in config.as_dict().items()}
    fingerprints = {"flags": flags, "versions": versions()}
    return Terms(config.connect_timeout, config.peer_timeout, config.interface, fingerprints)


def order(config: Config, data: ImageData) -> Order:
    """Which example stands where.

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
    """How long the run is and what is due when; `kind` of device is cpu or gpu."""
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


def course(config: Config, steps_per_epoch: int) -> LearningRateSchedule:
    """The learning rates."""
    total = config.epochs * steps_per_epoch
    return LearningRateSchedule(config.lr, config.schedule, config.warmup_steps, total)


def early_stopping(config: Config) -> EarlyStopping:
    """How long to wait for an improvement of what."""
    return EarlyStopping(config.patience, config.monitor, config.min_delta)


def arithmetic(config: Config, devices: Devices, precision: str) -> Arithmetic:
    """What is computed in, if it is this precision; sets TensorFlow to it."""
    xla = compiled(
        config.xla,
        precision,
        devices.kind,
        devices.strategy.num_replicas_in_sync,
        config.data_format,
        bool(config.shards or config.eager),
    )
    return settle(
        precision,
        config.data_format,
        devices.capability,
        config.eager,
        config.nondeterministic,
        xla,
    )


def bits(devices: Devices, arithmetic: Arithmetic) -> dict[str, str]:
    """What decides the last bits beyond the flags: name -> value."""
    kernels = {"data_format": arithmetic.layout, "xla": "on" if arithmetic.xla else "off"}
    return {**kernels, **hardware.arithmetic(devices.names[0])}


def architecture(config: Config, data: ImageData, arithmetic: Arithmetic) -> Architecture:
    """The network's shape, for the data's images and classes, as it is computed."""
    flags, image_shape = config.as_dict(), data.train.images.shape[1:]
    shape = Architecture.from_flags(flags, image_shape, data.num_classes)
    return dataclasses.replace(
        shape,
        channels_first=arithmetic.channels_first,
        precision=arithmetic.layers,
    )


def rule(config: Config) -> optim.OptimizerSettings:
    """The update rule."""
    values = {
        name: getattr(config, name) for name in optim.OptimizerSettings._fields if name != "name"
    }
    return optim.OptimizerSettings(config.optimizer, **values)


def settings(config: Config, xla: bool = False) -> Settings:
    """How a step is computed; compiled by XLA, if the arithmetic says so."""
    return Settings(
        seed=config.seed,
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm,
        wire_dtype=config.wire_dtype,
        augmentation=Augmentation(config.shift_px, config.rotate_deg, config.zoom),
        eager=config.eager,
        shards=config.shards,
        accumulate_steps=config.accumulate_steps,
        xla=xla,
    )


def blocks(config: Config, trainset: Trainset, placement: ReplicaPlacement, kind: str) -> Blocks:
    """How blocks get to the devices: a GPU keeps the training set, if it is small."""
    cards = nvidia.cards() if kind == "gpu" else ()
    memory_bytes = config.gpu_memory_mib * nvidia.MIB or min(
        (card.memory_bytes for card in cards), default=0
    )
    if kind == "gpu" and device_blocks.fits(
        trainset, memory_bytes // (config.virtual_devices or 1)
    ):
        return device_blocks.on_devices(trainset, placement)
    return device_blocks.from_host(trainset, placement)


def claimed(
    config: Config, chief: bool, job: Job
) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """The run's folders, for this run alone: worker 0, the chief, which writes, has them.

    Yields a function that raises RunError where another run has taken one.

    Raises:
        UsageError: another run has one, or it can't be written in.
    """
    folders = {"--checkpoint_dir": config.checkpoint_dir, "--output_dir": config.output_dir}
    return lock.held(folders if chief else {}, Owner.this_process(*job))


def files(
    config: Config,
    variables: dict[str, tf.Variable],
    chief: bool,
    check_lock: Callable[[], None],
    console: Console,
) -> Files:
    """Where the run leaves what; worker 0 alone, the chief, writes.

    Args:
        config: the flags.
        variables: name -> variable, what is saved.
        chief: whether this is worker 0.
        check_lock: what `claimed` yielded.
        console: where it is said.
    """
    return Files(
        Checkpoints(config.checkpoint_dir, variables, config.keep_checkpoints, chief, check_lock),
        Events((config.output_dir or config.checkpoint_dir) if chief else ""),
        console,
        Trace(config.output_dir if chief else "", config.profiled),
    )


def lead(config: Config, console: Console) -> SaveDeadlineCheck:
    """Whether there is time to save when told to stop."""
    return SaveDeadlineCheck(config.stop_lead_s, console.notice)


def identity(config: Config, precision: str, data: ImageData) -> dict[str, Any]:
    """What decides the run's numbers: a checkpoint with another identity is another run's."""
    return {**config.numbers(), "precision": precision, "data": data.fingerprint}


def elsewhere(config: Config) -> Callable[[Iterable[str]], str]:
    """Of the names in which two runs differ, a command line that keeps both: in a new folder."""

    def command(names: Iterable[str]) -> str:
        words = (f"{name}{getattr(config, name, '')}" for name in names)
        name = "-".join(re.sub(r"[^0-9A-Za-z.]+", "_", word).strip("_") for word in words)[:80]
        runs = Path(config.run_dir).parent if config.run_dir else Path("runs")
        folders = (runs / (f"{name}-{number}" if number > 1 else name) for number in count(1))
        return command_line(config, str(next(path for path in folders if not path.exists())))

    return command


def origin(config: Config, network: Architecture, replicas: int) -> dict[str, Any]:
    """What a checkpoint says of its run, so that its folder alone is enough to use it."""
    return {
        "network": dataclasses.asdict(network),
        "replicas": replicas,
        "config": config.as_dict(),
    }


def remarks(config: Config) -> list[str]:
    """What a reader of the log must know of the flags."""
    found = []
    if config.batch_norm and config.accumulate_steps > 1:
        found.append("Batch statistics are those of each micro-batch, not of the global batch.")
    if config.shards:
        found.append(f"Shards: {config.shards}; the bits don't depend on the number of replicas.")
    return found
