"""Detects devices that occasionally compute wrong results: silent data corruption.

Each device repeats the run's own first steps by itself, in a fixed order of all sums (--shards), so
all repetitions on all devices of a kind must give the same bits. Dixit et al. 2021, "Silent data
corruptions at scale", describe how common such devices are.
"""

import collections
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.devices.hardware import arithmetic
from mnist_dist.devices.strategy import Devices
from mnist_dist.training.bit_digest import bit_digest, shown

STEPS = 10  # of a round
SHARDS = 16  # at most: each is traced


def devices(config: Config, built: Devices, cores: int, seconds: float) -> list[dict[str, Any]]:
    """Trains on all of this worker's devices at the same time.

    Args:
        config: the run's flags.
        built: the devices.
        cores: the largest number of cores that a worker of the cluster has; all are kept busy.
        seconds: duration after the first round; a round that has begun is completed.

    Returns:
        For each device: "device", "kind" (devices of a kind give the same bits), and "digests",
        the bit digest of weights and optimizer after a round -> number of rounds.
    """
    with ThreadPoolExecutor(len(built.names)) as pool:
        each = [pool.submit(_device, config, built, name, cores, seconds) for name in built.names]
        return [device.result() for device in each]


def _device(
    config: Config, built: Devices, name: str, cores: int, seconds: float
) -> dict[str, Any]:
    training = BurnInTraining(config, built, name, cores)
    digests = collections.Counter([training.round()])  # with tracing
    end = time.monotonic() + seconds
    while digests.total() < 2 or time.monotonic() < end:
        digests[training.round()] += 1
    kind = ", ".join(arithmetic(name).values())
    return {"device": name, "kind": kind, "digests": dict(digests)}


class BurnInTraining:
    """The run's network and its first steps on one device.

    Attributes:
        variables: name -> variable, of all state that training changes.
    """

    def __init__(self, config: Config, built: Devices, name: str, cores: int) -> None:
        self._name = name
        data = sources.load(*config.data_flags)
        busy = min(cores, SHARDS, config.batch_size) if built.kind == "cpu" else 1
        fixed = dataclasses.replace(
            config,
            shards=2 ** (busy.bit_length() - 1),
            accumulate_steps=1,
            check_every_steps=0,
            digest_every_steps=0,
            eager=False,
            nondeterministic=False,
            wire_dtype="float32",
            xla="auto",
            precision="float32" if config.precision == "auto" else config.precision,
        )
        steps = min(STEPS, assembly.order(config, data).steps_per_epoch)
        with tf.device(name):
            made = assembly.assemble(fixed, data, built, tf.distribute.get_strategy(), steps)
            self.variables = made.state.variables
            self._steps = made.steps
            self._block = tf.nest.map_structure(tf.constant, made.trainset.block(range(steps), 0))
            self._rates = tf.fill([steps], tf.constant(config.lr, self._steps.dtype))
        self._digest = tf.function(self._bit_digest, autograph=False)
        self._begin = {key: variable.numpy() for key, variable in self.variables.items()}

    def round(self) -> str:
        """Trains the steps from the initial weights; returns the weights' digest."""
        with tf.device(self._name):
            for key, variable in self.variables.items():
                variable.assign(self._begin[key])
            self.train()
            return shown(int(self._digest()))

    def _bit_digest(self) -> tf.Tensor:
        """One digest of the digests of all variables, as a save compares them."""
        ordered = [variable for _, variable in sorted(self.variables.items())]
        return bit_digest(tf.stack([bit_digest(tf.identity(one)) for one in ordered]))

    def train(self) -> None:
        """Trains the steps."""
        stop = tf.zeros([], self._steps.dtype)
        self._steps.train(self._block, self._rates, tf.size(self._rates), stop)
