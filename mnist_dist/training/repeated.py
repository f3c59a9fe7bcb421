"""Computes a part of a step a second time, so that the bits of both can be compared.

The second computation is a branch of the graph that only checked steps take. It reads the same
inputs as the first through the branch's switch, so no graph optimizer can see that it is equal to
the first one and merge the two; tests/process/training/test_bits.py plants faults in one of them.
It must not communicate, since MirroredStrategy can't in a branch, so the first computation records
its sums over replicas, which the second one reads.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from mnist_dist.training.bit_digest import bit_digest
from mnist_dist.training.reduction import Factors, Gradient

MORE = ("loss", "batch statistics")
"""What is compared besides the gradients of the trained variables."""


Key: TypeAlias = tuple[str, int]
"""A sum: "forward" or "backward", and its number."""


class Due(NamedTuple):
    """Whether a step is checked.

    Attributes:
        now: bool scalar, on the host.
        slot: int32 scalar, on the host: the number of checked steps before it in the block.
    """

    now: tf.Tensor
    slot: tf.Tensor


class Totals:
    """Sums over all shards of all replicas; those of batch statistics and of their gradients.

    Args:
        reduce: from the sum's key and a tensor for each of this replica's shards to the sum over
            all replicas.
    """

    def __init__(self, reduce: Callable[[Key, Sequence[tf.Tensor]], tf.Tensor]) -> None:
        self._reduce = reduce
        self._own: dict[Key, list[tf.Tensor]] = {}
        self._sums: dict[Key, tf.Tensor] = {}
        self._calls = 0

    def again(self) -> "Totals":
        """For a second computation of the same step, which reads these sums."""
        return Totals(lambda key, _: self._sums[key])

    def __call__(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The sum over all shards of all replicas, once for each of this replica's.

        It is differentiable.
        """
        number, self._calls = self._calls, self._calls + 1

        @tf.custom_gradient
        def total(*own: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., list[tf.Tensor]]]:
            def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
                whole = self._sum(("backward", number), upstream)
                return [tf.identity(whole) for _ in upstream]

            whole = self._sum(("forward", number), own)
            return [tf.identity(whole) for _ in own], gradient

        return total(*values)

    def of_shard(self, shard: int) -> list[tf.Tensor]:
        """What one shard has added to each sum, in a fixed order."""
        return [own[shard] for _, own in sorted(self._own.items())]

    def _sum(self, key: Key, values: Sequence[tf.Tensor]) -> tf.Tensor:
        self._own[key] = list(values)
        self._sums[key] = self._reduce(key, values)
        return self._sums[key]


def digests(
    gradients: Sequence[Gradient], scores: tf.Tensor, statistics: Sequence[tf.Tensor]
) -> tf.Tensor:
    """The digests of what one shard or micro-batch contributes to a step.

    Args:
        gradients: of the trained variables; factors are taken as they are sent.
        scores: dtype [2], sums of the loss and of right answers.
        statistics: added to the batch statistics and their gradients; may be empty.

    Returns:
        int64 [variables + 2].
    """
    together = _joined(statistics) if statistics else tf.zeros([], tf.int64)
    each = [_joined(one) if isinstance(one, Factors) else bit_digest(one) for one in gradients]
    return tf.stack([*each, bit_digest(scores), together])


def _joined(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """One digest of several tensors of a dtype."""
    return bit_digest(tf.concat([tf.reshape(one, [-1]) for one in tensors], 0))


def compared(
    due: Due, opinions: int, variables: int, compute: Callable[[], Sequence[tf.Tensor]]
) -> tf.Tensor:
    """The digests of the first computation and of those that repeat it or another replica's.

    Args:
        due: whether this step is checked.
        opinions: the number of repeated computations.
        variables: the number of trained variables.
        compute: makes the digests of the first computation, then of each repeated one.

    Returns:
        int64 [1 + opinions, variables + 2]; zeros if the step isn't checked.
    """
    none = tf.zeros([1 + opinions, variables + len(MORE)], tf.int64)
    return tf.cond(due.now, lambda: tf.stack(compute()), lambda: none)
