"""Blocks of training and evaluation, against the arithmetic written out anew."""

import itertools
import threading

import numpy as np
import pytest

from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import Trainset, eval_blocks, prefetched
from mnist_dist.data.split import Split


def split_of(examples):
    """Each image's four pixels and its label are its index in the base 256 and modulo 10."""
    ids = np.arange(examples)
    images = np.stack([ids % 256, ids // 256, 255 - ids % 256, ids % 7], 1).astype(np.uint8)
    return Split(images.reshape(-1, 2, 2, 1), (ids % 10).astype(np.int32))


def ids_of(images):
    flat = images.reshape(len(images), 4).astype(int)
    return (flat[:, 0] + 256 * flat[:, 1]).tolist()


@pytest.mark.parametrize(("batch", "micro"), [(50, 1), (64, 4), (7, 3), (300, 2)])
@pytest.mark.parametrize("replicas", [1, 2, 3, 8])
def test_an_epoch_of_blocks(batch, micro, replicas):
    """5,003 images (a prime), cut into blocks of 4 steps: each id once, in the order's places."""
    examples = 5003
    split, order = split_of(examples), Order(11, examples, batch)
    trainset = Trainset(split, order, micro, replicas, block_steps=4)
    permutation = order.permutation(2).tolist()
    steps = -(-examples // batch)
    base = 2 * steps  # of epoch 2
    seen = []
    for start in range(0, steps, 4):
        numbers = range(start, min(start + 4, steps))
        blocks = [
            trainset.block(range(base + numbers.start, base + numbers.stop), replica)
            for replica in range(replicas)
        ]
        for k, number in enumerate(numbers):
            expected = permutation[number * batch : (number + 1) * batch]
            found = dict[int, int]()  # place in the global batch -> id
            for replica, block in enumerate(blocks):
                assert block.step[k] == base + number
                assert block.total[k] == len(expected)
                ids = trainset.example_ids(base + number, replica)
                for m in range(micro):
                    real, first = block.real[k, m], block.first[k, m]
                    here = ids_of(block.images[k, m, :real])
                    assert here == ids[m].tolist()
                    assert block.labels[k, m, :real].tolist() == [i % 10 for i in here]
                    assert not block.images[k, m, real:].any()
                    assert not block.labels[k, m, real:].any()
                    for place, example in enumerate(here, first):
                        assert place not in found
                        found[place] = example
            assert [found[place] for place in range(len(expected))] == expected
            seen += expected
        for block in blocks:  # a short block is filled up with steps of nothing
            assert not block.real[len(numbers) :].any()
            assert not block.total[len(numbers) :].any()
    assert sorted(seen) == list(range(examples))


def test_shapes_and_types_do_not_change():
    """The last block of an epoch, of one step with one image, is as large as any."""
    trainset = Trainset(split_of(129), Order(0, 129, 64), 2, 3, block_steps=5)
    for steps in (range(0, 2), range(2, 3)):
        block = trainset.block(steps, 1)
        assert (block.check, block.shard) == ((), ())
        shapes = [(array.shape, array.dtype) for array in block[:-2]]
        assert shapes == [
            ((5, 2, 11, 2, 2, 1), np.uint8),
            ((5, 2, 11), np.int32),
            ((5, 2), np.int64),
            ((5, 2), np.int32),
            ((5,), np.int32),
            ((5,), np.int64),
        ]
    assert trainset.block(range(2, 3), 1).total.tolist() == [1, 0, 0, 0, 0]


def test_a_block_by_hand():
    """A last batch of 3 in two micro-batches over two replicas: 1 and 2 rows, the 1 on the last."""
    order = Order(0, 7, 4)
    trainset = Trainset(split_of(7), order, 2, 2, block_steps=1)
    last = order.permutation(0)[4:].tolist()
    blocks = [trainset.block(range(1, 2), replica) for replica in range(2)]
    assert [block.real[0].tolist() for block in blocks] == [[0, 1], [1, 1]]
    assert [block.first[0].tolist() for block in blocks] == [[0, 1], [0, 2]]
    assert ids_of(blocks[1].images[0, 0, :1]) == last[:1]
    assert ids_of(blocks[0].images[0, 1, :1]) == last[1:2]
    assert ids_of(blocks[1].images[0, 1, :1]) == last[2:]


@pytest.mark.parametrize("replica", [0, 2])
def test_the_rows_of_a_block(replica):
    """Its indices gather its images, if a black one of class 0 stands behind the last."""
    split = split_of(129)
    trainset = Trainset(split, Order(0, 129, 64), 2, 3, block_steps=5)
    images = np.concatenate([split.images, np.zeros((1, 2, 2, 1), np.uint8)])
    for steps in (range(0, 2), range(2, 3)):
        rows, block = trainset.rows(steps, replica), trainset.block(steps, replica)
        assert rows.ids.dtype == np.int32
        assert np.array_equal(images[rows.ids], block.images)
        assert np.array_equal(np.append(split.labels, 0)[rows.ids], block.labels)
        for name in ("first", "real", "total", "step"):
            assert np.array_equal(getattr(rows, name), getattr(block, name))


def test_shards_by_hand():
    """A last batch of 3 in four shards of at most one row: the first has none, whoever has it."""
    order = Order(0, 7, 4)
    last = order.permutation(0)[4:].tolist()
    for replicas in (1, 2, 4):
        trainset = Trainset(split_of(7), order, 1, replicas, block_steps=1, shards=4)
        blocks = [trainset.block(range(1, 2), replica) for replica in range(replicas)]
        assert {block.images.shape for block in blocks} == {(1, 4 // replicas, 1, 2, 2, 1)}
        rows = [(block, shard) for block in blocks for shard in range(4 // replicas)]
        assert [int(block.real[0, shard]) for block, shard in rows] == [0, 1, 1, 1]
        assert [int(block.first[0, shard]) for block, shard in rows] == [0, 0, 1, 2]
        seen = [ids_of(block.images[0, shard, :1])[0] for block, shard in rows[1:]]
        assert seen == last
        assert [block.total[0] for block in blocks] == [3] * replicas


@pytest.mark.parametrize("examples", [1, 1000, 1003])
def test_a_sharded_evaluation_has_the_same_blocks_on_any_number_of_replicas(examples):
    split = split_of(examples)
    [alone] = [list(eval_blocks(split, 125, 0, 1, 8))]
    assert sum(int(block.real.sum()) for block in alone) == examples
    for replicas in (2, 8):
        parts = [eval_blocks(split, 125, replica, replicas, 8) for replica in range(replicas)]
        for block, *mine in zip(alone, *parts, strict=True):
            for name in ("images", "labels", "first", "real"):
                together = np.concatenate([getattr(part, name) for part in mine], 1)
                assert np.array_equal(together, getattr(block, name))


@pytest.mark.parametrize("examples", [1, 2, 99, 100, 101, 5003])
@pytest.mark.parametrize(("rows", "replicas"), [(100, 1), (34, 3), (1, 8), (25, 4)])
def test_an_evaluation_has_each_example_once(examples, rows, replicas):
    split = split_of(examples)
    parts = [
        list(eval_blocks(split, rows, replica, replicas, replicas)) for replica in range(replicas)
    ]
    assert {len(blocks) for blocks in parts} == {-(-examples // (rows * replicas))}
    seen = []
    for block in itertools.chain.from_iterable(zip(*parts, strict=True)):
        assert block.images.shape == (1, 1, rows, 2, 2, 1)
        first, real = int(block.first[0, 0]), int(block.real[0, 0])
        here = ids_of(block.images[0, 0, :real])
        assert here == list(range(first, first + real))
        assert block.labels[0, 0, :real].tolist() == [i % 10 for i in here]
        assert not block.images[0, 0, real:].any()
        seen += here
    assert seen == list(range(examples))
    totals = [int(block.total[0]) for block in parts[0]]
    assert sum(totals) == examples


def test_prefetched_makes_one_item_ahead_in_another_thread():
    made, threads = [], set()
    ready = [threading.Event() for _ in range(4)]

    def make(item):
        made.append(item)
        threads.add(threading.current_thread().name)
        ready[item].set()
        return item * 10

    for number, (item, result) in enumerate(prefetched(make, range(4))):
        assert (item, result) == (number, number * 10)
        if number < 3:
            assert ready[number + 1].wait(timeout=30)  # while this one is in use
        assert made == list(range(min(number + 2, 4)))
    assert threading.current_thread().name not in threads
    assert list(prefetched(make, [])) == []


def test_prefetched_takes_items_as_they_come():
    """One more than is in use; a run may end before they do."""
    taken = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    made = prefetched(lambda item: item, items())
    assert next(made) == (0, 0)
    assert next(made) == (1, 1)
    made.close()
    assert taken == [0, 1, 2]


def test_prefetched_passes_on_a_failure():
    def make(item):
        if item == 1:
            raise OSError("gone")
        return item

    made = prefetched(make, [0, 1, 2])
    assert next(made) == (0, 0)
    with pytest.raises(OSError, match="gone"):
        next(made)
