"""Blocks of training steps for this worker's replicas, made ready while the last one is trained.

The images of a set of this kind fit in memory as bytes, so a block is gathered by indexing: a
replica's rows of each of its steps and no others. One thread does this a block ahead, and puts
the block on the replica's device. Rows that a replica doesn't have (uneven division, the last
batch) are zero and masked by how many are real: shapes stay the same and nothing is traced twice.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from mnist_dist.data import order
from mnist_dist.data.split import Split


class Block(NamedTuple):
    """One replica's part of up to K global steps of M micro-batches of up to B rows each.

    Attributes:
        images: uint8 [K, M, B, height, width, channels].
        labels: int32 [K, M, B].
        first: int64 [K, M], position of the first row in its global batch.
        real: int32 [K, M], how many rows are real; the others are zero.
        total: int32 [K], real rows of the whole global batch, over all replicas.
        step: int64 [K], the global steps, from 0.
    """

    images: np.ndarray
    labels: np.ndarray
    first: np.ndarray
    real: np.ndarray
    total: np.ndarray
    step: np.ndarray


class RowsOfBlock(NamedTuple):
    """Which rows a Block has; all but `ids` as there.

    Attributes:
        ids: int32 [K, M, B], the examples; their number stands for a row that isn't real.
    """

    ids: np.ndarray
    first: np.ndarray
    real: np.ndarray
    total: np.ndarray
    step: np.ndarray


class Trainset(NamedTuple):
    """The training images and how they are dealt out.

    Attributes:
        split: the images and labels.
        order: which example stands where.
        micro_batches: into how many parts a global batch is cut, to be summed.
        replicas: replicas over all workers.
        block_steps: steps in a full block (K).
        shards: fixed parts of a global batch; a replica's then stand in the place of
            micro-batches. 0 for none.
    """

    split: Split
    order: order.Order
    micro_batches: int
    replicas: int
    block_steps: int
    shards: int = 0

    def example_ids(self, step: int, replica: int) -> list[np.ndarray]:
        """The examples that `replica` trains on at `step`: a micro-batch each, int64 [rows]."""
        batch = self.order.batch(step, self.order.permutation(self.order.position(step)[0]))
        return [batch[first : first + count] for first, count in self._rows(len(batch), replica)]

    def rows(self, steps: range, replica: int) -> RowsOfBlock:
        """The rows of one replica for `steps`, at most block_steps of them in one epoch."""
        size = self.order.batch_size
        if self.shards:
            rows = order.rows_per_replica(size, 1, self.shards)
        else:
            rows = order.rows_per_replica(size, self.micro_batches, self.replicas)
        shape = (self.block_steps, len(self._rows(size, replica)))
        block = RowsOfBlock(
            ids=np.full((*shape, rows), self.order.examples, np.int32),
            first=np.zeros(shape, np.int64),
            real=np.zeros(shape, np.int32),
            total=np.zeros(shape[0], np.int32),
            step=np.arange(steps.start, steps.start + shape[0], dtype=np.int64),
        )
        permutation = self.order.permutation(self.order.position(steps.start)[0])
        for k, step in enumerate(steps):
            batch = self.order.batch(step, permutation)
            block.total[k] = len(batch)
            for m, (first, count) in enumerate(self._rows(len(batch), replica)):
                block.first[k, m], block.real[k, m] = first, count
                block.ids[k, m, :count] = batch[first : first + count]
        return block

    def block(self, steps: range, replica: int) -> Block:
        """The same rows with their images and labels; those that aren't real are zero."""
        rows = self.rows(steps, replica)
        images = np.zeros((*rows.ids.shape, *self.split.images.shape[1:]), np.uint8)
        labels = np.zeros(rows.ids.shape, np.int32)
        for k in range(len(steps)):
            for m, count in enumerate(rows.real[k]):
                ids = rows.ids[k, m, :count]
                images[k, m, :count] = self.split.images[ids]
                labels[k, m, :count] = self.split.labels[ids]
        return Block(images, labels, *rows[1:])

    def _rows(self, size: int, replica: int) -> np.ndarray:
        """Where a replica's micro-batches, or shards, are in a global batch of `size`."""
        if self.shards:
            return order.shard_rows(size, self.shards, replica, self.replicas)
        return order.replica_rows(size, self.micro_batches, replica, self.replicas)


def eval_blocks(
    split: Split, rows: int, replica: int, replicas: int, parts: int
) -> Iterator[Block]:
    """One replica's parts of a pass over a whole split: each example once over all replicas.

    Args:
        split: the images and labels.
        rows: rows of a part; the rows it lacks in the last block are masked.
        replica: this replica's number.
        replicas: replicas over all workers.
        parts: parts of a block over all replicas, a multiple of their number.

    Yields:
        Blocks of one step, in which a replica's parts stand in the place of micro-batches; `first`
        is a part's first row's index in the split.
    """
    own = parts // replicas
    for start in range(0, len(split.labels), rows * parts):
        size = min(rows * parts, len(split.labels) - start)
        block = Block(
            images=np.zeros((1, own, rows, *split.images.shape[1:]), np.uint8),
            labels=np.zeros((1, own, rows), np.int32),
            first=np.zeros((1, own), np.int64),
            real=np.zeros((1, own), np.int32),
            total=np.array([size], np.int32),
            step=np.zeros(1, np.int64),
        )
        for number in range(own):
            first, last = order.part(size, replica * own + number, parts)
            block.first[0, number], block.real[0, number] = start + first, last - first
            block.images[0, number, : last - first] = split.images[start + first : start + last]
            block.labels[0, number, : last - first] = split.labels[start + first : start + last]
        yield block


Made = TypeVar("Made")
Item = TypeVar("Item")


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[tuple[Item, Made]]:
    """Each item with what `make` makes of it, the next one made in a thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        waiting = None
        for item in items:
            following = item, thread.submit(make, item)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1].result()
