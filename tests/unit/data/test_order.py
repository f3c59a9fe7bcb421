"""Who sees what, and when: by arithmetic alone."""

import itertools

import numpy as np
import pytest

from mnist_dist.data.order import Order, bounds, replica_rows, rows_per_replica, shard_rows


def philox_words(key, count):
    """Philox4x64-10 as Salmon et al. 2011 have it, in Python's whole numbers: `count` words."""
    mask = 2**64 - 1
    words = []
    for counter in range(1, -(-count // 4) + 1):
        c = [counter, 0, 0, 0]
        k = [key & mask, key >> 64]
        for _ in range(10):
            a, b = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
            c = [(b >> 64) ^ c[1] ^ k[0], b & mask, (a >> 64) ^ c[3] ^ k[1], a & mask]
            k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
        words += c
    return words[:count]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (7, 3), (2**31 - 1, 999)])
def test_the_permutation_is_the_rank_of_philox_words(seed, epoch):
    words = philox_words((seed << 64) + epoch, 1000)
    assert len(set(words)) == 1000
    expected = sorted(range(1000), key=words.__getitem__)
    assert Order(seed, 1000, 64).permutation(epoch).tolist() == expected


@pytest.mark.parametrize("examples", [1, 2, 63, 5003, 55000])
def test_a_permutation(examples):
    order = Order(3, examples, 1)
    for epoch in range(3):
        permutation = order.permutation(epoch)
        assert permutation.dtype == np.int64
        assert np.array_equal(np.sort(permutation), np.arange(examples))


def test_pure_in_seed_and_epoch():
    """Whatever was asked before, and at any batch size; another seed or epoch is another order."""
    asked = [(seed, epoch) for seed in range(3) for epoch in range(3)]
    first = {key: Order(key[0], 500, 64).permutation(key[1]).tolist() for key in asked}
    again = {key: Order(key[0], 500, 7).permutation(key[1]).tolist() for key in reversed(asked)}
    assert first == again
    assert len(set(map(tuple, first.values()))) == 9


def test_the_order_never_changes_unnoticed():
    """The first ids of seed 0 over the 55,000 images: a change breaks every checkpoint."""
    order = Order(0, 55000, 64)
    first = [47848, 34552, 24994, 32827, 31943, 24289]
    second = [39437, 40690, 7668, 21961, 37690, 15115]
    assert order.permutation(0)[:6].tolist() == first
    assert order.permutation(1)[:6].tolist() == second
    assert order.batch(860, order.permutation(1))[:6].tolist() == second


def test_nobody_changes_the_cached_order():
    with pytest.raises(ValueError, match="read-only"):
        Order(0, 10, 2).permutation(0)[0] = 1


@pytest.mark.parametrize(
    ("examples", "batch", "steps"),
    [(64, 64, 1), (65, 64, 2), (55000, 64, 860), (5003, 50, 101), (3, 3, 1)],
)
def test_steps_and_positions(examples, batch, steps):
    order = Order(0, examples, batch)
    assert order.steps_per_epoch == steps
    assert order.position(0) == (0, 0)
    assert order.position(steps - 1) == (0, steps - 1)
    assert order.position(steps) == (1, 0)
    assert order.position(2 * steps + 1) == divmod(2 * steps + 1, steps)


def test_the_batches_of_an_epoch_are_its_permutation():
    """Each example once; the last batch is what remains, here one example."""
    order = Order(5, 129, 64)
    for epoch in (0, 1):
        permutation = order.permutation(epoch)
        batches = [order.batch(3 * epoch + number, permutation) for number in range(3)]
        assert [len(batch) for batch in batches] == [64, 64, 1]
        assert np.concatenate(batches).tolist() == permutation.tolist()


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 50, 64])
def test_bounds(size, count):
    slices = [bounds(size, index, count) for index in range(count)]
    covered = [thing for start, end in slices for thing in range(start, end)]
    assert covered == list(range(size))
    sizes = [end - start for start, end in slices]
    assert max(sizes) - min(sizes) <= 1


SIZES = (1, 2, 3, 5, 8, 11, 50, 63, 64)


@pytest.mark.parametrize("micro", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 8])
def test_replica_rows_have_each_row_once(replicas, micro):
    """Over replicas and micro-batches, in order, also where there are fewer rows than replicas."""
    for size, batch_size in itertools.product(SIZES, SIZES):
        if size > batch_size:
            continue  # a batch is full or the epoch's last
        most = rows_per_replica(batch_size, micro, replicas)
        rows = [replica_rows(size, micro, replica, replicas) for replica in range(replicas)]
        covered = []
        for m in range(micro):
            for replica in range(replicas):
                first, count = rows[replica][m]
                assert 0 <= count <= most
                covered += range(first, first + count)
        assert covered == list(range(size))


def test_replica_rows_by_hand():
    """64 over 3: 21, 21 and 22 rows; a last batch of 1 over 3: the last replica has it."""
    rows = [replica_rows(64, 1, replica, 3).tolist() for replica in range(3)]
    assert rows == [[[0, 21]], [[21, 21]], [[42, 22]]]
    assert [replica_rows(1, 1, r, 3)[0, 1] for r in range(3)] == [0, 0, 1]
    assert replica_rows(10, 2, 1, 2).tolist() == [[2, 3], [7, 3]]
    assert replica_rows(10, 2, 1, 2).dtype == np.int64


def test_a_rows_place_does_not_depend_on_the_replicas():
    """With one micro-batch the replicas' rows, put together, are the global batch's order."""
    for replicas in (1, 2, 3, 8):
        rows = [replica_rows(50, 1, replica, replicas)[0] for replica in range(replicas)]
        starts = [first for first, _ in rows]
        assert starts == sorted(starts)
        assert [first + count for first, count in rows][:-1] == starts[1:]


@pytest.mark.parametrize("size", [50, 64, 3, 1])
def test_a_shard_is_the_same_on_any_number_of_replicas(size):
    alone = shard_rows(size, 8, 0, 1).tolist()
    assert [row for first, count in alone for row in range(first, first + count)] == [*range(size)]
    assert max(count for _, count in alone) == -(-size // 8)
    for replicas in (2, 4, 8):
        dealt = [shard_rows(size, 8, replica, replicas).tolist() for replica in range(replicas)]
        assert [shard for shards in dealt for shard in shards] == alone
        assert {len(shards) for shards in dealt} == {8 // replicas}
