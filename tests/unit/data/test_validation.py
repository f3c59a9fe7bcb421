"""Which training images are held out: the first, or a stratified draw."""

import numpy as np
import pytest

from mnist_dist.data.split import Split
from mnist_dist.data.validation import held_out
from mnist_dist.errors import UsageError

COUNTS = (1000, 300, 30, 1, 0, 669)
NAMES = ["a", "b", "c", "d", "e", "f"]


def training_set(shuffled=False):
    """2,000 images, each of whose pixels are its index; sorted by class, or not."""
    labels = np.repeat(np.arange(6), COUNTS).astype(np.int32)
    if shuffled:
        np.random.default_rng(0).shuffle(labels)
    ids = np.arange(len(labels))
    images = np.stack([ids % 256, ids // 256], 1).astype(np.uint8).reshape(-1, 1, 2, 1)
    return Split(images, labels)


def ids(split):
    return (
        split.images[:, 0, 0, 0].astype(int) + 256 * split.images[:, 0, 1, 0].astype(int)
    ).tolist()


@pytest.mark.parametrize("size", [1, 7, 200, 1999])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_takes_each_class_in_proportion(size, seed):
    train = training_set()
    rest, held = held_out(train, size, seed, NAMES, "here")
    assert len(held.labels) == size
    assert sorted(ids(rest) + ids(held)) == list(range(2000))
    for split in (rest, held):
        assert ids(split) == sorted(ids(split))
        assert split.labels.tolist() == train.labels[ids(split)].tolist()
    if size < 1990:
        taken = np.bincount(held.labels, minlength=6)
        assert (np.abs(taken - np.array(COUNTS) * size / 2000) <= 1).all()
        assert taken[3] == 0  # its only image stays in the training set


def test_a_draw_is_decided_by_the_seed():
    draws = [ids(held_out(training_set(), 200, seed, NAMES, "here")[1]) for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    common = len({*draws[0]} & {*draws[2]})
    assert 5 < common < 50  # of two independent draws of a tenth: 20


def test_the_first_are_refused_where_they_do_not_represent_the_classes():
    """On a set sorted by class."""
    train = training_set()
    with pytest.raises(UsageError, match=r"have no image of class b; give --validation=shuffled"):
        held_out(train, 500, None, NAMES, "here")
    with pytest.raises(UsageError, match=r"have all images of class a; give --validation=shuffled"):
        held_out(train, 1000, None, NAMES, "here")
    assert ids(held_out(train, 0, None, NAMES, "here")[0]) == list(range(2000))


def test_the_first_may_lack_a_rare_class():
    """Class d has one image of 2,000: less than one of 200 in proportion."""
    train = training_set(shuffled=True)
    rest, held = held_out(train, 200, None, NAMES, "here")
    assert (ids(held), ids(rest)) == (list(range(200)), list(range(200, 2000)))
    assert 3 not in held.labels
    assert np.shares_memory(rest.images, train.images)
