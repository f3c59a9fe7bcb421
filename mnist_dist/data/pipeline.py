"""Blocks of training steps for this worker's replicas, prefetched by one thread.

The images are an array in memory or a mapped file. A block is gathered by indexing it, so only the
rows that a replica trains on are copied. Blocks have a fixed shape, so TensorFlow traces each
function once. If a replica has fewer rows than its block (uneven division, the last batch of an
epoch), the remaining rows are zero, and `real` is the number of rows that count.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mnist_dist.data import order
from mnist_dist.data.checking import Checking
from mnist_dist.data.split import Split


class Block(NamedTuple):
    """One replica's rows of up to K global steps, each of M micro-batches of up to B rows.

    Attributes:
        images: uint8 [K, M, B, height, width, channels].
        labels: int32 [K, M, B].
        first: int64 [K, M], position of the first row in its global batch.
        real: int32 [K, M], number of real rows; the rows after them are padding, all zero.
        total: int32 [K], real rows in the global batch, over all replicas.
        step: int64 [K], the global steps, from 0.
        check: a Block whose first axis is the checked steps among the K, and its second the shards
            of other replicas that this one computes then; () without --check_every_steps or
            without shards.
        shard: int32 [checked steps], which of its own shards this replica compares; or ().
    """

    images: np.ndarray
    labels: np.ndarray
    first: np.ndarray
    real: np.ndarray
    total: np.ndarray
    step: np.ndarray
    check: Any = ()
    shard: Any = ()


class RowsOfBlock(NamedTuple):
    """The rows of a Block by index, without images; the other fields are those of Block.

    Attributes:
        ids: int32 [K, M, B], indices of examples; padding has the number of examples as index.
    """

    ids: np.ndarray
    first: np.ndarray
    real: np.ndarray
    total: np.ndarray
    step: np.ndarray
    check: Any = ()
    shard: Any = ()

    def with_images(self, gather: Callable[["RowsOfBlock"], tuple[Any, Any]]) -> Block:
        """The Block, whose images and labels `gather` makes of the rows."""
        check = self.check.with_images(gather) if self.check else ()
        return Block(*gather(self), *self[1:-2], check, self.shard)


class Trainset(NamedTuple):
    """The training images and how they are divided over steps, micro-batches and replicas.

    Attributes:
        split: the images and labels.
        order: the order of the examples.
        micro_batches: micro-batches in a global batch (M); their gradients are summed.
        replicas: replicas over all workers.
        block_steps: steps in a full block (K).
        shards: fixed shards of a global batch; 0: none. With shards, the second axis (M) of a
            block is this replica's shards.
        checking: the checks of --check_every_steps; None for none.
    """

    split: Split
    order: order.Order
    micro_batches: int
    replicas: int
    block_steps: int
    shards: int = 0
    checking: Checking | None = None

    def example_ids(self, step: int, replica: int) -> list[np.ndarray]:
        """The examples of `replica` at `step`: an int64 [rows] for each micro-batch or shard."""
        batch = self.order.batch(step, self.order.permutation(self.order.position(step)[0]))
        return [batch[first : first + count] for first, count in self._rows(len(batch), replica)]

    def rows(self, steps: range, replica: int) -> RowsOfBlock:
        """The rows of one replica for `steps`: at most block_steps steps, all of one epoch."""
        size = self.order.batch_size
        if self.shards:
            rows = order.rows_per_replica(size, 1, self.shards)
        else:
            rows = order.rows_per_replica(size, self.micro_batches, self.replicas)
        shape = (self.block_steps, len(self._rows(size, replica)))
        block = self._no_rows(shape, rows)
        block.step[:] = np.arange(steps.start, steps.start + shape[0])
        permutation = self.order.permutation(self.order.position(steps.start)[0])
        for k, step in enumerate(steps):
            batch = self.order.batch(step, permutation)
            _fill(block, k, batch, self._rows(len(batch), replica))
        if not self.checking or not self.shards:
            return block
        shape = (self.checking.most_due(self.block_steps), self.checking.opinions)
        check, shards = self._no_rows(shape, rows), np.zeros(shape[0], np.int32)
        for slot, step in enumerate(self.checking.due(steps)):
            batch, shard = self.order.batch(step, permutation), self.checking.shard(step)
            check.step[slot], shards[slot] = step, shard
            owners = self.checking.owners(step, replica)
            _fill(check, slot, batch, [self._rows(len(batch), one)[shard] for one in owners])
        return block._replace(check=check, shard=shards)

    def block(self, steps: range, replica: int) -> Block:
        """The same rows with images and labels; padding is zero."""
        return self.rows(steps, replica).with_images(self._gather)

    def _gather(self, rows: RowsOfBlock) -> tuple[np.ndarray, np.ndarray]:
        images = np.zeros((*rows.ids.shape, *self.split.images.shape[1:]), np.uint8)
        labels = np.zeros(rows.ids.shape, np.int32)
        for k, m in np.argwhere(rows.real):
            count = rows.real[k, m]
            ids = rows.ids[k, m, :count]
            images[k, m, :count] = self.split.images[ids]
            labels[k, m, :count] = self.split.labels[ids]
        return images, labels

    def _no_rows(self, shape: tuple[int, int], rows: int) -> RowsOfBlock:
        """Rows of a block of a shape, all of them padding."""
        return RowsOfBlock(
            ids=np.full((*shape, rows), self.order.examples, np.int32),
            first=np.zeros(shape, np.int64),
            real=np.zeros(shape, np.int32),
            total=np.zeros(shape[0], np.int32),
            step=np.zeros(shape[0], np.int64),
        )

    def _rows(self, size: int, replica: int) -> np.ndarray:
        """A replica's micro-batches or shards in a global batch of `size`: see order.py."""
        if self.shards:
            return order.shard_rows(size, self.shards, replica, self.replicas)
        return order.replica_rows(size, self.micro_batches, replica, self.replicas)


def _fill(block: RowsOfBlock, k: int, batch: np.ndarray, places: Iterable[np.ndarray]) -> None:
    """Sets the rows of the k-th step from a global batch; (first, count) for each micro-batch."""
    block.total[k] = len(batch)
    for m, (first, count) in enumerate(places):
        block.first[k, m], block.real[k, m] = first, count
        block.ids[k, m, :count] = batch[first : first + count]


def eval_blocks(
    split: Split, rows: int, replica: int, replicas: int, slices: int
) -> Iterator[Block]:
    """One replica's blocks of a pass over a split; the replicas together see each example once.

    Args:
        split: the images and labels.
        rows: room for rows in a slice; the last block is padded.
        replica: this replica's index.
        replicas: replicas over all workers.
        slices: slices of a block over all replicas, a multiple of their number.

    Yields:
        Blocks of one step. The second axis is this replica's slices, and `first` is the index in
        the split of a slice's first row.
    """
    own = slices // replicas
    for start in range(0, len(split.labels), rows * slices):
        size = min(rows * slices, len(split.labels) - start)
        block = Block(
            images=np.zeros((1, own, rows, *split.images.shape[1:]), np.uint8),
            labels=np.zeros((1, own, rows), np.int32),
            first=np.zeros((1, own), np.int64),
            real=np.zeros((1, own), np.int32),
            total=np.array([size], np.int32),
            step=np.zeros(1, np.int64),
        )
        for number in range(own):
            first, last = order.bounds(size, replica * own + number, slices)
            block.first[0, number], block.real[0, number] = start + first, last - first
            block.images[0, number, : last - first] = split.images[start + first : start + last]
            block.labels[0, number, : last - first] = split.labels[start + first : start + last]
        yield block


Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetched(
    make: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[tuple[Item, Result]]:
    """Pairs (item, make(item)); a thread makes the next result while the caller uses this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        waiting = None
        for item in items:
            following = item, thread.submit(make, item)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1].result()
