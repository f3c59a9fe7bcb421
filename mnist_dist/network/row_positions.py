"""Positions of a replica's rows in the global batch, and random numbers derived from them.

Randomness is stateless: a counter-based generator (Philox 4x32-10, Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3") starts at the row's position in the global batch. So a row's
random numbers don't depend on the replica that draws them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from mnist_dist.network import xla

PHILOX = 1  # TensorFlow's number for the algorithm


class RowPositions(NamedTuple):
    """The rows of one micro-batch, or of one shard, of a replica in training.

    Attributes:
        seed: the run's seed, a Python int.
        step: int64 scalar, the global step, from 0.
        first: int64 scalar, position of the first row in the global batch.
        real: int32 scalar, number of real rows; those after them are padding.
        totals: from a sum per shard of this replica to the sum over all shards of all replicas,
            once per shard; differentiable.
        compiled: whether XLA compiles the step, which needs other operations.
    """

    seed: int
    step: tf.Tensor
    first: tf.Tensor
    real: tf.Tensor
    totals: Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]]
    compiled: bool = False

    def mask(self, rows: int, dtype: tf.DType) -> tf.Tensor:
        """1 for a real row and 0 for padding: dtype [rows]."""
        return tf.sequence_mask(self.real, rows, dtype)

    def uniform(self, rows: int, columns: int, stream: int) -> tf.Tensor:
        """Uniform numbers in [0, 1): float32 [rows, columns].

        Args:
            rows: rows of the replica's batch, padding included.
            columns: numbers for each row.
            stream: 0..255, a different one for each use within a step.
        """
        groups = -(-columns // 4)  # the generator gives four numbers a count
        low = tf.cast(self.first * groups, tf.uint64)
        high = tf.cast(self.step * 256 + stream, tf.uint64)
        if self.compiled:
            drawn = xla.uniform(self.seed, low, high, rows * groups * 4)
            return tf.reshape(drawn, [rows, groups * 4])[:, :columns]
        numbers = tf.raw_ops.StatelessRandomUniformV2(
            shape=[rows, groups * 4],
            key=tf.constant([self.seed], tf.uint64),
            counter=tf.stack([low, high]),
            alg=PHILOX,
            dtype=tf.float32,
        )
        return numbers[:, :columns]
