"""All that training changes: weights, optimizer, loss scale; with the names in a checkpoint."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mnist_dist.network import own
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.own import AnyNetwork
from mnist_dist.network.own_file import OwnArchitecture
from mnist_dist.training.loss_scale import LossScale
from mnist_dist.training.optim import Optimizer, OptimizerSettings


class State(NamedTuple):
    """The network, its optimizer and the loss scale."""

    network: AnyNetwork
    optimizer: Optimizer
    loss_scale: LossScale

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """Name -> variable: all that a resumed run needs, by the same names on any topology."""
        found = {f"model/{name}": v.value for name, v in self.network.variables.items()}
        found |= {f"optimizer/{name}": v for name, v in self.optimizer.variables.items()}
        return found | {f"loss_scale/{name}": v for name, v in self.loss_scale.variables.items()}

    @property
    def old_names(self) -> dict[str, str]:
        """Name -> the name in older checkpoints, where it is another."""
        names = self.optimizer.old_names
        return {f"optimizer/{name}": f"optimizer/{old}" for name, old in names.items()}

    def assign(self, weights: Mapping[str, np.ndarray]) -> None:
        """Sets variables of the network, and their averages, on every replica.

        Args:
            weights: name of a variable of the network -> its value, of the same shape.
        """
        averages = self.optimizer.variables
        for name, values in weights.items():
            self.network.variables[name].assign(values.astype(self.network.dtype))
            if f"average/{name}" in averages:
                averages[f"average/{name}"].assign(values.astype(self.network.dtype))


def build(
    strategy: tf.distribute.Strategy,
    architecture: Architecture | OwnArchitecture,
    optimizer: OptimizerSettings,
) -> State:
    """Builds the initial state, the same on every replica."""
    with strategy.scope():
        network = own.build(architecture)
        trainable = {name: network.variables[name] for name in network.trainable}
        loss_scale = LossScale(architecture.precision == "mixed_float16")
        return State(network, Optimizer(optimizer, trainable), loss_scale)
