"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, "Mixed precision training").

Keras's LossScaleOptimizer checks the gradients before they are summed, so replicas can disagree.
Here the sum is checked, so either all replicas skip a step or none does.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

START = 2.0**15
GROWTH_STEPS = 2000


class LossScale:
    """The factor on the loss; without `dynamic` it is 1, and nothing is computed.

    Attributes:
        variables: name -> tf.Variable, the state that a resumed run needs.
    """

    def __init__(self, dynamic: bool) -> None:
        self.variables: dict[str, tf.Variable] = {}
        if dynamic:
            self._scale = tf.Variable(START, trainable=False, name="loss_scale")
            self._finite = tf.Variable(0, trainable=False, name="finite_steps", dtype=tf.int64)
            self.variables = {"scale": self._scale, "finite_steps": self._finite}

    def up(self, loss: tf.Tensor) -> tf.Tensor:
        """The scaled loss, which is differentiated."""
        return loss * self._scale if self.variables else loss

    def down(self, gradient: tf.Tensor) -> tf.Tensor:
        """The gradient of the unscaled loss, from that of the scaled one."""
        return gradient / self._scale if self.variables else gradient

    def guard(self, gradients: Sequence[tf.Tensor], update: Callable[[], None]) -> None:
        """Runs `update` if all gradients are finite, else halves the scale and skips it."""
        if not self.variables:
            update()
            return

        def good() -> None:
            update()
            grown = tf.equal(self._finite % GROWTH_STEPS, GROWTH_STEPS - 1)
            self._scale.assign(tf.where(grown, self._scale * 2.0, self._scale))
            self._finite.assign_add(1)

        def bad() -> None:
            self._scale.assign(tf.maximum(self._scale / 2.0, 1.0))
            self._finite.assign(0)

        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        tf.cond(finite, good, bad)
