"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, "Mixed precision training").

Keras's LossScaleOptimizer looks at the gradients before they are summed, where replicas can
differ. Here the sum is looked at, so all replicas skip a step or none does.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

START = 2.0**15
GROWTH_STEPS = 2000


class LossScale:
    """The factor on the loss; without `dynamic` it is 1 and costs nothing.

    Attributes:
        variables: name -> tf.Variable, what a resumed run needs.
    """

    def __init__(self, dynamic: bool) -> None:
        self.variables: dict[str, tf.Variable] = {}
        if dynamic:
            self._scale = tf.Variable(START, trainable=False, name="loss_scale")
            self._good = tf.Variable(0, trainable=False, name="finite_steps", dtype=tf.int64)
            self.variables = {"scale": self._scale, "finite_steps": self._good}

    def up(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss as it is differentiated."""
        return loss * self._scale if self.variables else loss

    def down(self, gradient: tf.Tensor) -> tf.Tensor:
        """The gradient of the loss itself, from that of `up`."""
        return gradient / self._scale if self.variables else gradient

    def guard(self, gradients: Sequence[tf.Tensor], update: Callable[[], None]) -> None:
        """Runs `update` if all gradients are finite, else halves the scale and skips it."""
        if not self.variables:
            update()
            return

        def good() -> tf.Tensor:
            update()
            grown = tf.equal(self._good % GROWTH_STEPS, GROWTH_STEPS - 1)
            self._scale.assign(tf.where(grown, self._scale * 2.0, self._scale))
            self._good.assign_add(1)
            return tf.constant(True)

        def bad() -> tf.Tensor:
            self._scale.assign(tf.maximum(self._scale / 2.0, 1.0))
            self._good.assign(0)
            return tf.constant(False)

        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        tf.cond(finite, good, bad)
