"""Which shard of which replica is computed a second time, and where."""

from collections import Counter

import numpy as np
import pytest

from mnist_dist.data.checking import Checking, workers_per_host
from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import Trainset
from tests.unit.data.test_pipeline import split_of

SHAPES = [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (3, 1), (4, 2), (8, 1)]


def checking(workers, devices, every=10, shards=2, per_host=1):
    return Checking(every, 0, workers, devices, shards, per_host)


@pytest.mark.parametrize(
    ("workers", "devices", "per_host"), [*((*one, 1) for one in SHAPES), (8, 1, 4), (4, 2, 2)]
)
def test_each_replica_is_checked_by_as_many_as_it_checks(workers, devices, per_host):
    made = checking(workers, devices, per_host=per_host)
    replicas = range(workers * devices)
    assert made.opinions == min(2, max(len(replicas) - 1, 1))
    for step in range(30):
        owners = [made.owners(step, replica) for replica in replicas]
        counts = Counter(owner for one in owners for owner in one)
        assert counts == dict.fromkeys(replicas, made.opinions)
        assert all(len(set(one)) == len(one) == made.opinions for one in owners)
        if len(replicas) > 1:
            assert all(replica not in one for replica, one in enumerate(owners))


def test_other_workers_come_before_other_devices():
    for step in range(30):
        for replica in range(6):
            owners = checking(3, 2).owners(step, replica)
            assert len({replica // 2, *(owner // 2 for owner in owners)}) == 3
        first, second = checking(2, 2).owners(step, 0)
        assert (first // 2, second) == (1, 1)


def test_other_hosts_come_before_other_workers_on_the_same_host():
    """With two hosts the second opinion is of the own host, so that two hosts can outvote one."""
    for step in range(30):
        for replica in range(12):
            owners = checking(6, 2, per_host=2).owners(step, replica)
            assert len({replica // 4, *(owner // 4 for owner in owners)}) == 3
        for replica in range(8):
            first, second = checking(8, 1, per_host=4).owners(step, replica)
            assert (first // 4 != replica // 4, second // 4) == (True, replica // 4)


@pytest.mark.parametrize(
    ("hosts", "number"),
    [("a", 1), ("aa", 1), ("ab", 1), ("aabb", 2), ("abab", 1), ("aab", 1), ("aabbaa", 1)],
)
def test_workers_per_host(hosts, number):
    assert workers_per_host(hosts) == number


def test_pairs_and_shards_are_drawn_anew():
    made = checking(4, 2)
    assert len({made.owners(step, 0) for step in range(40)}) > 10
    assert {made.shard(step) for step in range(40)} == {0, 1}
    assert made.owners(7, 3) == made.owners(7, 3)
    others = made._replace(seed=1)
    assert [made.owners(n, 0) for n in range(9)] != [others.owners(n, 0) for n in range(9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_replay_is_of_the_replica_itself(shape):
    made = checking(*shape, shards=0)
    assert (made.opinions, made.shard(3)) == (1, 0)
    replicas = range(shape[0] * shape[1])
    assert [made.owners(3, replica) for replica in replicas] == [(one,) for one in replicas]


def test_due_steps():
    made = checking(1, 1, every=4)
    assert made.due(range(0, 12)) == [3, 7, 11]
    assert made.due(range(4, 7)) == []
    assert [made.most_due(steps) for steps in (1, 4, 5, 10)] == [1, 1, 2, 3]
    for first in range(20):
        for steps in (1, 4, 5, 10):
            assert len(made.due(range(first, first + steps))) <= made.most_due(steps)


def test_a_block_has_the_rows_of_the_checked_shards():
    """They are those that their owners have, images and labels, also in a short last batch."""
    made = checking(2, 2, every=3)
    order = Order(0, 37, 16)
    trainset = Trainset(split_of(37), order, 1, 4, block_steps=4, shards=8, checking=made)
    for steps in (range(0, 3), range(3, 6)):
        blocks = [trainset.block(steps, replica) for replica in range(4)]
        [step] = made.due(steps)
        k = step - steps.start
        for replica, block in enumerate(blocks):
            assert block.check.images.shape[:3] == (2, 2, 2)
            assert block.check.step[0] == step
            assert block.shard.tolist() == [made.shard(step), 0]
            for number, owner in enumerate(made.owners(step, replica)):
                theirs = blocks[owner]
                for name in ("images", "labels", "first", "real"):
                    mine = getattr(block.check, name)[0, number]
                    assert np.array_equal(mine, getattr(theirs, name)[k, block.shard[0]]), name
            assert block.check.total[0] == blocks[0].total[k]
