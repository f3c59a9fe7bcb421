"""What --precision=auto is in a run: as it was begun, else as measured on its own devices."""

from pathlib import Path

import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.config import Config
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.arithmetic import candidates
from mnist_dist.devices.strategy import Devices
from mnist_dist.run import store
from mnist_dist.training import choice, state
from mnist_dist.training.steps import Steps
from mnist_dist.training.trial import trial


def precision(
    config: Config, data: ImageData, devices: Devices, trainset: Trainset
) -> tuple[str, str]:
    """The precision, and why: as this run's checkpoint says, else as measured."""
    known = None if config.resume == "never" else remembered(Path(config.checkpoint_dir))
    if known:
        return known, f"--precision=auto: {known}, as the run was begun"
    alone, steps = tf.distribute.get_strategy(), range(trainset.block_steps)

    def build(candidate: str) -> Steps:
        how = assembly.arithmetic(config, devices, candidate)
        network = assembly.architecture(config, data, how)
        trained = state.build(alone, network, assembly.rule(config))
        return Steps(alone, trained, assembly.settings(config, how.xla))

    with tf.device(devices.names[0]):
        block = tf.nest.map_structure(tf.constant, trainset.block(steps, 0))
        course = assembly.course(config, trainset.order.steps_per_epoch)
        rates = [course.rate(step) for step in steps]
        trials = [trial(name, build(name), block, rates) for name in candidates(devices.capability)]
    chosen, why = choice.choose(trials)
    return chosen, f"--precision=auto: {chosen}, {why}"


def remembered(folder: Path) -> str | None:
    """The precision in the identity of the newest whole checkpoint; None where there is none."""
    saved, _ = store.newest(folder)
    return saved.state["identity"].get("precision") if saved else None
