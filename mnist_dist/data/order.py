"""Who sees what, and when: arithmetic on (seed, epoch, step) alone, the same on any cluster.

A global step is one update of the weights. Step s (from 0) takes its slice of the permutation of
its epoch; the slice is cut into micro-batches, and each of those over the replicas, in order and
as evenly as whole examples go. So an example's place in the global batch decides who trains on
it, and its place doesn't depend on the number of replicas.
"""

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Order:
    """The order of the training examples.

    Attributes:
        seed: decides all permutations.
        examples: size of the training set.
        batch_size: the global batch; the last of an epoch has what remains.
    """

    seed: int
    examples: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Global steps in one pass over the training set."""
        return math.ceil(self.examples / self.batch_size)

    def position(self, step: int) -> tuple[int, int]:
        """The epoch of global step `step`, both from 0, and the step's number in that epoch."""
        return divmod(step, self.steps_per_epoch)

    def permutation(self, epoch: int) -> np.ndarray:
        """The order of epoch `epoch` (from 0): int64 [examples].

        It ranks raw words of a Philox generator; NumPy promises that this stream stays the same
        in later versions, which it doesn't of its `permutation`.
        """
        return _permutation(self.seed, epoch, self.examples)

    def batch(self, step: int, permutation: np.ndarray) -> np.ndarray:
        """The examples of global step `step`: int64 [up to batch_size]."""
        first = self.position(step)[1] * self.batch_size
        return permutation[first : first + self.batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, examples: int) -> np.ndarray:
    words = np.random.Philox(key=(seed << 64) + epoch).random_raw(examples)
    ranked = np.argsort(words, kind="stable")
    ranked.flags.writeable = False  # it is shared with the cache
    return ranked


def part(size: int, index: int, count: int) -> tuple[int, int]:
    """Where part `index` of `count` of a row of `size` things begins and ends.

    The parts are contiguous, in order, cover all things once and differ by one in size at most;
    they are empty where there are more parts than things.
    """
    return size * index // count, size * (index + 1) // count


def rows_per_replica(batch_size: int, micro_batches: int, replicas: int) -> int:
    """The most rows that a replica gets of any micro-batch of a global batch."""
    return math.ceil(math.ceil(batch_size / micro_batches) / replicas)


def replica_rows(batch_size: int, micro_batches: int, replica: int, replicas: int) -> np.ndarray:
    """The rows of a global batch on one replica.

    Returns:
        int64 [micro_batches, 2]: for each micro-batch the replica's first row, as a position in
        the global batch, and how many rows it has there (0 is possible).
    """
    rows = []
    for micro in range(micro_batches):
        start, end = part(batch_size, micro, micro_batches)
        first, last = part(end - start, replica, replicas)
        rows.append((start + first, last - first))
    return np.array(rows, np.int64)


def shard_rows(batch_size: int, shards: int, replica: int, replicas: int) -> np.ndarray:
    """The shards of a global batch that a replica has; which rows are in a shard is fixed.

    Returns:
        int64 [shards / replicas, 2]: for each shard its first row, as a position in the global
        batch, and how many rows it has (0 is possible).
    """
    own = shards // replicas
    rows = [part(batch_size, shard, shards) for shard in range(replica * own, (replica + 1) * own)]
    return np.array([(first, last - first) for first, last in rows], np.int64)
