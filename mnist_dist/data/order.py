"""Which replica trains on which examples at which step: a function of (seed, epoch, step) alone.

A global step is one update of the weights. Global step s (from 0) takes slice s of the epoch's
permutation. The slice is cut into micro-batches, and each micro-batch is divided over the
replicas, in order and as evenly as possible. An example's position in the global batch therefore
doesn't depend on the number of replicas; only the replica that trains on it does.
"""

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which training examples are used.

    Attributes:
        seed: seed of all permutations.
        examples: number of training examples.
        batch_size: examples in a global batch; the last batch of an epoch may be smaller.
    """

    seed: int
    examples: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Global steps in one pass over the training set; the last may have a smaller batch."""
        return math.ceil(self.examples / self.batch_size)

    def position(self, step: int) -> tuple[int, int]:
        """The epoch of global step `step` and the step's index in it; all count from 0."""
        return divmod(step, self.steps_per_epoch)

    def permutation(self, epoch: int) -> np.ndarray:
        """The order of epoch `epoch` (from 0): int64 [examples].

        It is the argsort of raw Philox output. NumPy guarantees that this stream is stable across
        versions; it gives no such guarantee for `Generator.permutation`.
        """
        return _permutation(self.seed, epoch, self.examples)

    def batch(self, step: int, permutation: np.ndarray) -> np.ndarray:
        """The examples of global step `step`: int64 [at most batch_size]."""
        first = self.position(step)[1] * self.batch_size
        return permutation[first : first + self.batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, examples: int) -> np.ndarray:
    words = np.random.Philox(key=(seed << 64) + epoch).random_raw(examples)
    ranked = np.argsort(words, kind="stable")
    ranked.flags.writeable = False  # callers share the cached array
    return ranked


def bounds(size: int, index: int, count: int) -> tuple[int, int]:
    """Start and end of slice `index` when `size` items are cut into `count` slices.

    The slices are contiguous and in order, cover each item once, and differ in size by one at
    most. With more slices than items some are empty.
    """
    return size * index // count, size * (index + 1) // count


def rows_per_replica(batch_size: int, micro_batches: int, replicas: int) -> int:
    """The largest number of rows that a replica gets from any micro-batch."""
    return math.ceil(math.ceil(batch_size / micro_batches) / replicas)


def rows_of_step(batch_size: int, micro_batches: int, shards: int, replicas: int) -> int:
    """The rows that all replicas together have room for in a global step, padding included.

    Args:
        batch_size: the global batch.
        micro_batches: of the global batch; with shards it makes no difference.
        shards: fixed shards of the global batch; 0 for none.
        replicas: over all workers.
    """
    if shards:
        return shards * rows_per_replica(batch_size, 1, shards)
    return micro_batches * replicas * rows_per_replica(batch_size, micro_batches, replicas)


def replica_rows(batch_size: int, micro_batches: int, replica: int, replicas: int) -> np.ndarray:
    """The rows of a global batch on one replica.

    Returns:
        int64 [micro_batches, 2]: for each micro-batch the position of the replica's first row in
        the global batch, and its number of rows (may be 0).
    """
    rows = []
    for micro in range(micro_batches):
        start, end = bounds(batch_size, micro, micro_batches)
        first, last = bounds(end - start, replica, replicas)
        rows.append((start + first, last - first))
    return np.array(rows, np.int64)


def shard_rows(batch_size: int, shards: int, replica: int, replicas: int) -> np.ndarray:
    """The shards of a global batch on one replica; the rows of a shard never change.

    Returns:
        int64 [shards / replicas, 2]: for each shard the position of its first row in the global
        batch, and its number of rows (may be 0).
    """
    own = shards // replicas
    rows = [
        bounds(batch_size, shard, shards) for shard in range(replica * own, (replica + 1) * own)
    ]
    return np.array([(first, last - first) for first, last in rows], np.int64)
