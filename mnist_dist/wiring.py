"""Puts a run's parts together, and ends it."""

from typing import Any

from mnist_dist import resources, resume
from mnist_dist.augment import Augmentation
from mnist_dist.checkpoint import Checkpoints
from mnist_dist.config import Config
from mnist_dist.console import Console
from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.sources import ImageData
from mnist_dist.describe import table
from mnist_dist.errors import UsageError
from mnist_dist.evaluation import Evaluation
from mnist_dist.events import Events
from mnist_dist.loop import Loop, Progress, score_line
from mnist_dist.loss_scale import LossScale
from mnist_dist.model import Architecture, Network
from mnist_dist.optim import Optimizer
from mnist_dist.session import Session
from mnist_dist.steps import Settings, Steps
from mnist_dist.stop import Stop
from mnist_dist.versions import versions

BLOCK_STEPS = {"cpu": 10, "gpu": 50}  # more gain nothing that can be measured on a CPU


def train(config: Config, session: Session, data: ImageData, stop: Stop) -> str:
    """Trains on `data` with the workers of `session`; see `mnist_dist.train.run`."""
    session.agree("the data", data.fingerprint)
    order = Order(config.seed, len(data.train.labels), config.batch_size)
    if config.batch_size > order.examples:
        raise UsageError(
            f"--batch_size={config.batch_size} is more than the training set has images, "
            f"{order.examples}; give at most that"
        )
    chief = session.topology.is_chief
    console = Console(quiet=not chief)
    network, optimizer, loss_scale = _model(config, session, data)
    if config.describe:
        console.line(table(network))
        return "described"
    _head(config, session, data, console)
    variables = {f"model/{name}": v.value for name, v in network.variables.items()}
    variables |= {f"optimizer/{name}": v for name, v in optimizer.variables.items()}
    variables |= {f"loss_scale/{name}": v for name, v in loss_scale.variables.items()}
    kind = session.devices.names[0].split(":")[0].strip("/")
    loop = Loop(
        config=config,
        data=data,
        trainset=Trainset(
            data.train,
            order,
            config.accumulate_steps,
            session.placement.replicas,
            min(config.steps_per_loop or BLOCK_STEPS[kind], order.steps_per_epoch),
        ),
        placement=session.placement,
        steps=Steps(session.devices.strategy, network, optimizer, loss_scale, _settings(config)),
        checkpoints=Checkpoints(config.checkpoint_dir, variables, config.keep_checkpoints, chief),
        events=Events(config.output_dir if chief else ""),
        console=console,
        stop=stop,
        identity=_identity(config, session, data),
        where=session.where,
        at_step=session.at_step,
    )
    progress = resume.begin(loop, session)
    finished = bool(progress.stopped)
    if finished:
        console.line(f"This run is finished ({progress.stopped}, global step {progress.step}).")
        if progress.patience.best_step is None:  # else the last scores aren't what is reported
            console.line(score_line("test", progress.scores["test"]))
    try:
        stopped = progress.stopped or loop.run(progress)
    finally:
        console.end()  # an error's line doesn't stand behind the bar
    if stopped == "preempted":
        name = stop.name or "a signal to another worker"
        console.line(f"Stopped by {name}: saved at global step {progress.step}, to go on later.")
    elif config.output_dir or config.patience:
        test = _score(loop, progress)
        if not finished or loop.events.incomplete:
            loop.events.predictions(lambda path: test.save(path, data.test))
    if not finished or loop.events.incomplete:
        loop.events.result(_result(loop, session, network, progress, stopped))
    loop.events.close()
    return stopped


def _model(
    config: Config, session: Session, data: ImageData
) -> tuple[Network, Optimizer, LossScale]:
    devices = session.devices
    architecture = Architecture(
        image_shape=data.train.images.shape[1:],
        num_classes=data.num_classes,
        conv_filters=config.conv_filters,
        kernel_size=config.kernel_size,
        dense_units=config.dense_units,
        dropout=config.dropout,
        batch_norm=config.batch_norm,
        residual=config.residual,
        channels_first=devices.channels_first,
        precision=devices.precision,
        seed=config.seed,
    )
    with devices.strategy.scope():
        network = Network(architecture)
        trainable = {name: network.variables[name] for name in network.trainable}
        optimizer = Optimizer(config, trainable)
        loss_scale = LossScale(dynamic=devices.precision == "mixed_float16")
    return network, optimizer, loss_scale


def _settings(config: Config) -> Settings:
    return Settings(
        seed=config.seed,
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm,
        wire_dtype=config.wire_dtype,
        augmentation=Augmentation(
            shift_px=config.shift_px, rotate_deg=config.rotate_deg, zoom=config.zoom
        ),
        eager=config.eager,
    )


def _identity(config: Config, session: Session, data: ImageData) -> dict[str, Any]:
    """What decides the run's numbers: a checkpoint with another identity is another run's."""
    return {**config.numbers(), "precision": session.devices.precision, "data": data.fingerprint}


def _head(config: Config, session: Session, data: ImageData, console: Console) -> None:
    """The log's first lines: what runs on what."""
    devices, topology = session.devices, session.topology
    names = ",".join(devices.names)
    layout = "channels_first" if devices.channels_first else "channels_last"
    console.line(f"Using device {names}, and data format {layout}.")
    used = resources.used()
    console.line(
        f"Replicas: {session.placement.replicas} over {max(topology.num_workers, 1)} worker(s); "
        f"{used['cores']} of {used['machine_cores']} cores of {used['hostname']}, "
        f"{used['cpu_percent']:.0f} % CPU and {used['peak_memory_bytes'] / 2**20:.0f} MiB so far; "
        f"precision {devices.precision}."
    )
    console.line(f"Data: {data.source}.")
    for note in (topology.note, *devices.notes):
        if note:
            console.line(note)
    if config.batch_norm and config.accumulate_steps > 1:
        console.line("Batch statistics are those of each micro-batch, not of the global batch.")


def _score(loop: Loop, progress: Progress) -> Evaluation:
    """Scores what is reported: the last weights, or the best where --patience knows them."""
    best = progress.patience.best_step
    if best not in (None, progress.step):
        loop.checkpoints.restore(loop.checkpoints.at(best))
        progress.scores["validation"] = loop.evaluate("validation").means()
    test = loop.evaluate("test")
    progress.scores["test"] = test.means()
    if best is not None:
        loop.console.line(f"The best weights are of global step {best}:")
        loop.console.line(score_line("test", progress.scores["test"]))
    return test


def _result(
    loop: Loop, session: Session, network: Network, progress: Progress, stopped: str
) -> dict[str, Any]:
    """What result.json says; docs/files.md has the schema."""
    order, config = loop.trainset.order, loop.config
    epochs, rest = divmod(progress.step, order.steps_per_epoch)
    images = epochs * order.examples + rest * config.batch_size
    test, validation = progress.scores.get("test", {}), progress.scores.get("validation", {})
    return {
        "test_accuracy": test.get("accuracy"),
        "test_loss": test.get("loss"),
        "validation_accuracy": validation.get("accuracy"),
        "validation_loss": validation.get("loss"),
        "steps": progress.step,
        "epochs": progress.step / order.steps_per_epoch,
        "train_seconds": progress.train_seconds,
        "images_per_s": images / max(progress.train_seconds, 1e-9),
        "num_replicas": session.placement.replicas,
        "num_workers": max(session.topology.num_workers, 1),
        "precision": session.devices.precision,
        "parameters": sum(stage.parameters for stage in network.stages),
        "data": loop.identity["data"],
        "stopped": stopped,
        "config": config.as_dict(),
        "versions": versions(),
        "resources": resources.used(),
    }
