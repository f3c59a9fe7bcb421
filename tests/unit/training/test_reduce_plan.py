"""What is sent to sum the gradients: factors where they are smaller, in bytes."""

import json

import pytest

from mnist_dist.data.order import rows_of_step
from mnist_dist.errors import UsageError
from mnist_dist.network.architecture import Architecture, Stage
from mnist_dist.training.reduce_plan import DenseKernel, Gradients, ReducePlan, Sending, of_stages

NOTEBOOK = of_stages(Architecture((28, 28, 1), 10).stages)
DENSE = DenseKernel("dense1/kernel", 1024, 1024)


def test_the_notebooks_gradients():
    assert NOTEBOOK.numbers == 1_111_946
    assert NOTEBOOK.dense == (DENSE, DenseKernel("logits/kernel", 1024, 10))


def test_the_notebooks_batch_is_sent_as_factors():
    plan = NOTEBOOK.plan(64, 4, factors=True)
    assert plan.factored == (DENSE,)  # of the logits the factors are larger: 64 x 1034, 10,240
    assert plan.names == ("dense1/kernel",)
    assert plan.bytes == 4 * (1_111_946 - 1024 * 1024 + 64 * 2048)
    assert plan.product_bytes == 4 * 1_111_946
    plan.check()
    assert plan.line == (
        "Gradients: 0.78 MB are summed over the replicas in each step, "
        "dense1/kernel as factors of 64 x (1024 + 1024); as products 4.45 MB."
    )


@pytest.mark.parametrize(("rows", "factored"), [(511, True), (512, False), (513, False)])
def test_the_smaller_one_is_sent(rows, factored):
    plan = Gradients(2**20, (DENSE,)).plan(rows, 2, factors=True)
    assert bool(plan.factored) == factored
    assert plan.bytes == (2 * rows * 2048 if factored else 2**21)


def test_gathering_is_fewer_bytes_for_few_replicas():
    """Besides the factors of 524,288 bytes there are 253,480; n - 1 shares, or 2 (n - 1) / n."""
    plan = NOTEBOOK.plan(64, 4, factors=True)
    assert plan.factor_bytes == 524_288
    assert [plan.share(n) for n in (1, 2, 4)] == [777_768, 515_624, 384_552]
    gathered = [(n - 1) * plan.share(n) for n in (2, 3, 4, 5)]
    ring = [2 * (n - 1) / n * 777_768 for n in (2, 3, 4, 5)]
    fewer = [a < b for a, b in zip(gathered, ring, strict=True)]
    assert fewer == [plan.fewer_gathered(n) for n in (2, 3, 4, 5)] == [True, True, True, False]
    assert not NOTEBOOK.plan(64, 4, factors=False).fewer_gathered(2)  # as many bytes
    sending = Sending(NOTEBOOK, factors=True)
    assert [sending._replace(may_gather=may).plan(64, 2).gather for may in (True, False)] == [
        True,
        False,
    ]


def test_products_alone():
    plan = NOTEBOOK.plan(64, 8, factors=False)
    assert plan.names == ()
    assert plan.bytes == plan.product_bytes == 8 * 1_111_946
    assert plan.line == "Gradients: 8.90 MB are summed over the replicas in each step."


def test_factors_that_would_be_larger_are_refused():
    with pytest.raises(UsageError, match=r"--reduce=factors: no .* give a smaller --batch_size"):
        NOTEBOOK.plan(4096, 4, factors=True).check()
    ReducePlan().check()  # one replica sends nothing


def test_moving_statistics_have_no_gradient():
    stages = [Stage("conv1", (26, 26, 4), (3, 3, 1, 4), normed=True), Stage("pool1", (13, 13, 4))]
    assert of_stages(stages) == Gradients(36 + 4 + 8, (), norms=1)


def test_all_reduces_of_a_step():
    """One for each pack, and the small ones besides; a pack holds half of the factors' bytes."""
    sending = Sending(NOTEBOOK, factors=True)
    assert [sending.reductions(rows) for rows in (64, 4096)] == [1, 1]
    cut = sending._replace(bytes_per_pack=390_000, small=3)
    assert [cut.reductions(rows) for rows in (64, 4096)] == [2 + 3, 12 + 3]


def test_sending_survives_json():
    sending = Sending(NOTEBOOK, 2, factors=True, bytes_per_pack=7, small=3, may_gather=True)
    assert Sending.from_json(json.loads(json.dumps(sending))) == sending


@pytest.mark.parametrize(
    ("batch", "micro", "shards", "replicas", "rows"),
    [(64, 1, 0, 2, 64), (64, 1, 0, 3, 66), (50, 3, 0, 4, 60), (50, 2, 8, 4, 56), (3, 1, 0, 2, 4)],
)
def test_rows_of_a_step(batch, micro, shards, replicas, rows):
    assert rows_of_step(batch, micro, shards, replicas) == rows
