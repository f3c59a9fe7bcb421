"""The update of the weights: Keras's optimizers on gradients that are already summed.

Keras's own `apply` sums the gradients over the replicas again and can't skip a step, so its
`update_step` is called on each variable instead.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mnist_dist.optimizers import OPTIMIZERS


class OptimizerSettings(NamedTuple):
    """How the weights are updated.

    Attributes:
        name: --optimizer.
        flags: the flags that this optimizer reads -> their values.
        weight_decay: the part of a kernel, times the learning rate, that each step takes off it.
        ema: decay of the averaged weights; 0 for none.
    """

    name: str
    flags: Mapping[str, float]
    weight_decay: float
    ema: float


class Optimizer:
    """Updates a network's variables. Make it in the strategy's scope; call it outside replicas.

    Attributes:
        variables: name -> tf.Variable, all that a resumed run needs. The names are those of the
            trained variables, such as momentum/dense1/kernel.
        old_names: name -> the name in checkpoints of version 1, which numbered Keras's variables.
    """

    def __init__(
        self, settings: OptimizerSettings, trainable: Mapping[str, keras.Variable]
    ) -> None:
        self._keras = OPTIMIZERS[settings.name].build(keras.optimizers, settings.flags)
        self._keras.build(list(trainable.values()))
        self._targets = [variable.value for variable in trainable.values()]
        self._weight_decay = settings.weight_decay
        self._ema = settings.ema
        averages: dict[str, tf.Variable] = {}
        if settings.ema:
            averages = {
                f"average/{name}": tf.Variable(variable.value, trainable=False)
                for name, variable in trainable.items()
            }
        self._averages = list(averages.values())
        slots = _slots(self._keras, trainable)
        self._velocities: list[tf.Variable] = []
        if isinstance(self._keras, keras.optimizers.SGD) and self._keras.momentum:
            self._velocities = [slots[f"momentum/{name}"] for name in trainable]
        self.variables = slots | averages
        self.old_names = {name: f"slot{number:03d}" for number, name in enumerate(slots)}
        self.old_names |= {name: f"average{i:03d}" for i, name in enumerate(averages)}

    def apply(
        self,
        strategy: tf.distribute.Strategy,
        gradients: Sequence[Any],
        lr: Any,
        part: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
    ) -> None:
        """One update, on every replica alike.

        Args:
            strategy: the one whose scope the variables were made in.
            gradients: one for each trainable variable, summed over the replicas.
            lr: float32 scalar, the learning rate of this step.
            part: makes a program of each replica's update, or leaves it as it is.
        """

        def on_replica(_: tf.Variable, gradients: Any, lr: tf.Tensor, *columns: Any) -> None:
            @part
            def update(gradients: list[tf.Tensor], lr: tf.Tensor) -> None:
                for own in zip(gradients, *columns, strict=True):
                    self._update(lr, *own)

            update(gradients, lr)

        none = [()] * len(self._targets)
        columns = self._targets, self._velocities or none, self._averages or none
        # The first variable's devices are those of all.
        strategy.extended.update(
            self._targets[0], on_replica, args=(list(gradients), lr, *columns), group=False
        )
        self._keras.iterations.value.assign_add(1)

    def _update(self, lr: tf.Tensor, grad: tf.Tensor, local: Any, velocity: Any, mean: Any) -> None:
        """Updates one replica's copy of a variable; `velocity` and `mean` may be ()."""
        if self._weight_decay and len(local.shape) > 1:
            local.assign_sub(local * (lr * self._weight_decay))
        if self._velocities:
            self._with_momentum(local, velocity, grad, lr)
        else:
            self._keras.update_step(grad, local, lr)
        if self._averages:
            mean.assign_add((local - mean) * (1.0 - self._ema))

    def _with_momentum(
        self, local: tf.Variable, velocity: tf.Variable, grad: tf.Tensor, lr: tf.Tensor
    ) -> None:
        """Keras's formula as one operation: one pass through memory in place of five."""
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=local.handle,
            accum=velocity.handle,
            lr=tf.cast(lr, local.dtype),
            grad=grad,
            momentum=tf.constant(self._keras.momentum, local.dtype),
            use_nesterov=self._keras.nesterov,
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


def _slots(
    optimizer: keras.optimizers.Optimizer, trainable: Mapping[str, keras.Variable]
) -> dict[str, tf.Variable]:
    """Keras's variables by name: momentum/dense1/kernel, iteration; without its learning rate.

    Keras builds a slot's path from the path of the variable that it belongs to: sgd/
    dense1_kernel_momentum. Its order of creation isn't relied on.

    Raises:
        ValueError: a variable that belongs to none of `trainable`, or two of one name.
    """
    names = {variable.path.replace("/", "_"): name for name, variable in trainable.items()}
    slots: dict[str, tf.Variable] = {}
    for variable in optimizer.variables:
        _, _, path = variable.path.rpartition("/")
        if path == "learning_rate":  # Keras's own, which is never used
            continue
        owner = max((o for o in names if path.startswith(f"{o}_")), key=len, default="")
        name = f"{path.removeprefix(owner)[1:]}/{names[owner]}" if owner else path
        if name in slots or not (owner or path == "iteration"):
            raise ValueError(f"optimizer variable {variable.path} has no name of its own")
        slots[name] = variable.value
    return slots
