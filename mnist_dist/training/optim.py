"""The update rule: Keras's optimizers on gradients that are already summed.

Keras's own `apply` sums the gradients over the replicas once more and can't be told when to skip
a step, so its `update_step` is called on each variable instead.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class OptimizerSettings(NamedTuple):
    """An update rule; each field is the flag of its name, which has the default and the help.

    Attributes:
        name: --optimizer.
    """

    name: str
    momentum: float
    beta_1: float
    beta_2: float
    rho: float
    epsilon: float
    weight_decay: float
    ema: float


class Optimizer:
    """Updates a network's variables. Make it in the strategy's scope; call it outside replicas.

    Attributes:
        variables: name -> tf.Variable, all that a resumed run needs.
    """

    def __init__(self, rule: OptimizerSettings, trainable: dict[str, keras.Variable]) -> None:
        self._rule = _keras_rule(rule)
        self._rule.build(list(trainable.values()))
        self._targets = [variable.value for variable in trainable.values()]
        self._decay = rule.weight_decay
        self._ema = rule.ema
        self._averages: list[tf.Variable] = []
        if rule.ema:
            self._averages = [tf.Variable(v.value, trainable=False) for v in trainable.values()]
        self._velocities: list[keras.Variable] = []
        if rule.name in ("momentum", "nesterov") and rule.momentum:
            self._velocities = self._rule.momentums
        # The rule's own learning rate is never used, and its name says nothing of the order.
        slots = [v.value for v in self._rule.variables if v is not self._rule._learning_rate]  # noqa: SLF001
        self.variables: dict[str, tf.Variable] = {}
        self.variables |= {f"slot{number:03d}": slot for number, slot in enumerate(slots)}
        self.variables |= {f"average{i:03d}": value for i, value in enumerate(self._averages)}

    def apply(self, strategy: tf.distribute.Strategy, gradients: Sequence[Any], lr: Any) -> None:
        """One update, on every replica alike.

        Args:
            strategy: the one whose scope the variables were made in.
            gradients: one for each trainable variable, summed over the replicas.
            lr: float32 scalar, the learning rate of this step.
        """

        def update(local: tf.Variable, grad: tf.Tensor, slots: dict[str, tf.Variable]) -> None:
            if self._decay and len(local.shape) > 1:
                local.assign_sub(local * (lr * self._decay))
            if "velocity" in slots:
                self._with_momentum(local, slots["velocity"], grad, lr)
            else:
                self._rule.update_step(grad, local, lr)
            if "average" in slots:
                mean = slots["average"]
                mean.assign_add((local - mean) * (1.0 - self._ema))

        for index, (variable, gradient) in enumerate(zip(self._targets, gradients, strict=True)):
            slots = {}
            if self._velocities:
                slots["velocity"] = self._velocities[index].value
            if self._averages:
                slots["average"] = self._averages[index]
            strategy.extended.update(variable, update, args=(gradient, slots), group=False)
        self._rule.iterations.value.assign_add(1)

    def _with_momentum(
        self, local: tf.Variable, velocity: tf.Variable, grad: tf.Tensor, lr: tf.Tensor
    ) -> None:
        """Keras's formula in one operation, which goes through memory once and not five times."""
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=local.handle,
            accum=velocity.handle,
            lr=tf.cast(lr, local.dtype),
            grad=grad,
            momentum=tf.constant(self._rule.momentum, local.dtype),
            use_nesterov=self._rule.nesterov,
        )

    def swap_averages(self, strategy: tf.distribute.Strategy) -> None:
        """Exchanges the weights and their averages; a second call exchanges them back."""

        def exchange(local: tf.Variable, average: tf.Variable) -> None:
            kept = tf.identity(local)
            with tf.control_dependencies([kept]):
                changed = local.assign(average)
            with tf.control_dependencies([changed]):
                average.assign(kept)

        for variable, average in zip(self._targets, self._averages, strict=False):
            strategy.extended.update(variable, exchange, args=(average,), group=False)


class _Muon(keras.optimizers.Muon):
    """Keras's, whose scale of a step is float32 whatever the weights are."""

    def lr_adjust(self, step: tf.Tensor) -> tf.Tensor:
        """A step as large as Adam's: of RMS 0.2 times the learning rate (Liu et al. 2025)."""
        return step * (self.rms_rate * math.sqrt(max(step.shape)))


def _keras_rule(rule: OptimizerSettings) -> Any:
    """Keras's optimizer of the name, without what is done here: rate, decay, clipping, average."""
    rules = keras.optimizers
    betas = {"beta_1": rule.beta_1, "beta_2": rule.beta_2, "epsilon": rule.epsilon}
    match rule.name:
        case "momentum":
            return rules.SGD(momentum=rule.momentum)
        case "nesterov":
            return rules.SGD(momentum=rule.momentum, nesterov=True)
        case "sgd":
            return rules.SGD()
        case "adam" | "adamw":
            return rules.Adam(**betas)
        case "adadelta":
            return rules.Adadelta(rho=rule.rho, epsilon=rule.epsilon)
        case "adagrad":
            return rules.Adagrad(epsilon=rule.epsilon)
        case "rmsprop":
            return rules.RMSprop(rho=rule.rho, momentum=rule.momentum, epsilon=rule.epsilon)
        case _:  # hidden dense kernels only; Keras updates everything else by Adam
            return _Muon(
                momentum=rule.momentum,
                adam_beta_1=rule.beta_1,
                adam_beta_2=rule.beta_2,
                epsilon=rule.epsilon,
                exclude_layers=["logits"],
            )
