"""--precision=auto: that of the run's checkpoint, else the fastest that trains like float32.

Each candidate trains the run's own first steps from its own initial weights, on worker 0's first
device. Worker 0 chooses for all, and a resumed run keeps the choice.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.config import Config
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.arithmetic import candidates
from mnist_dist.devices.strategy import Devices
from mnist_dist.run import store
from mnist_dist.training import step_records
from mnist_dist.training.precision_choice import Trial, choose
from mnist_dist.training.steps import Steps

COMPARED_STEPS = 5
TIMED_S = 0.5  # of each of two calls


def precision(config: Config, data: ImageData, devices: Devices, replicas: int) -> tuple[str, str]:
    """The precision, and a line for the log that says why.

    Args:
        config: the flags.
        data: the images.
        devices: this worker's devices.
        replicas: replicas over all workers: the candidates train on one replica's rows.
    """
    known = None if config.resume == "never" else of_checkpoint(Path(config.checkpoint_dir))
    if known:
        return known, f"--precision=auto: {known}, as the run was begun"
    plain = dataclasses.replace(config, check_every_steps=0, digest_every_steps=0)
    with tf.device(devices.names[0]):
        trials = [
            _trial(dataclasses.replace(plain, precision=candidate), data, devices, replicas)
            for candidate in candidates(devices.capability)
        ]
    chosen, why = choose(trials)
    return chosen, f"--precision=auto: {chosen}, {why}"


def of_checkpoint(folder: Path) -> str | None:
    """The precision of the newest whole checkpoint's run; None if there is no checkpoint."""
    saved, _ = store.newest(folder)
    return saved.state["identity"].get("precision") if saved else None


def _trial(config: Config, data: ImageData, devices: Devices, replicas: int) -> Trial:
    """Trains a candidate on the run's first block."""
    made = assembly.assemble(config, data, devices, tf.distribute.get_strategy())
    trainset: Trainset = made.trainset._replace(replicas=replicas)
    numbers = range(trainset.block_steps)
    block = tf.nest.map_structure(tf.constant, trainset.block(numbers, 0))
    rates = [made.schedule.rate(step) for step in numbers]
    return timed(config.precision, made.steps, block, rates)


def timed(precision: str, steps: Steps, block: Any, rates: Sequence[float]) -> Trial:
    """Trains a block's first steps to compile and compare, then some of them twice for the time.

    Args:
        precision: the candidate's name.
        steps: those of a network in this precision, at its initial weights.
        block: a replica's Block, on its device.
        rates: the learning rate of each of the block's steps.
    """
    dtype = steps.dtype
    lr, stop = tf.constant(np.array(rates), dtype), tf.constant(0.0, dtype)

    def run(count: int) -> tuple[float, list[float]]:
        started = time.perf_counter()
        records = steps.train(block, lr, tf.constant(count), stop).numpy()
        taken_s = time.perf_counter() - started
        return taken_s, [record.loss for record in step_records.unpack(records, range(count))]

    compared = min(COMPARED_STEPS, len(rates))
    _, losses = run(compared)
    once_s, _ = run(1)
    count = max(1, min(len(rates), math.ceil(TIMED_S / once_s)))
    taken_s = min(run(count)[0] for _ in range(2))
    return Trial(precision, 1e3 * taken_s / count, float(np.mean(losses)))
