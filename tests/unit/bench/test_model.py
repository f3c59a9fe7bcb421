"""The prediction, against numbers worked out by hand."""

import dataclasses

import pytest

from mnist_dist.bench.model import Ring, Scaling, Step, doubling, fit_ring, fit_step
from mnist_dist.training.reduce_plan import DenseKernel, Gradients, Sending


def sending(size_bytes, small=0):
    return Sending(Gradients(size_bytes // 4), small=small)


RING = Ring(launch_s=0.001, alpha_s=0.0005, bytes_per_s=1e8)
STEP = Step(fixed_s=0.004, image_s=0.001, sending=sending(4_000_000))


def test_a_ring():
    """Four replicas: 6 messages of 0.5 ms; 6/4 of 4 MB at 100 MB/s are 60 ms; 1 ms to begin."""
    assert RING.seconds(4, 4_000_000) == pytest.approx(0.064)
    assert RING.seconds(4, 0) == pytest.approx(0.004)
    assert RING.seconds(2, 4_000_000) == pytest.approx(0.001 + 2 * 0.0005 + 0.040)
    assert RING.seconds(1, 4_000_000) == 0.0


def test_weak_scaling():
    """16 images take 20 ms, on each of 4 replicas; the sum 64 ms: 84 ms for 64 images."""
    point = Scaling(STEP, RING, 16, weak=True).at(4)
    assert point.step_s == pytest.approx(0.084)
    assert point.images_per_s == pytest.approx(64 / 0.084)
    assert point.efficiency == pytest.approx(20 / 84)
    assert point.communication == pytest.approx(64 / 84)


def test_strong_scaling():
    """16 images take one replica 20 ms, 4 of them 8 ms; the sum 64 ms: 72 ms for 16 images."""
    scaling = Scaling(STEP, RING, 16, weak=False)
    point = scaling.at(4)
    assert point.step_s == pytest.approx(0.072)
    assert point.images_per_s == pytest.approx(16 / 0.072)
    assert point.efficiency == pytest.approx(20 / (4 * 72))
    assert scaling.at(1).efficiency == pytest.approx(1.0)
    assert scaling.most == 16  # an image for each


def test_more_sums_and_micro_batches():
    """Three sums: two small ones of 4 ms besides; two micro-batches: 4 ms more to compute."""
    step = STEP._replace(sending=sending(4_000_000, small=2))
    point = Scaling(step, RING, 16, weak=True, micro_batches=2).at(4)
    assert point.step_s == pytest.approx(0.024 + 0.064 + 2 * 0.004)


def test_factors():
    """A kernel of 1000 x 500 of 1,000,000 numbers, of which 500,000 are left besides it.

    Strong, 16 images on 3 replicas: 18 rows with padding. 527,000 numbers are 2.108 MB: 2 ms + 1 ms
    of messages, 28.11 ms of bytes; 12 rows of others at 0.1 ms; 16/3 images take 9.33 ms.
    """
    gradients = Gradients(1_000_000, (DenseKernel("dense1/kernel", 1000, 500),))
    step = Step(0.004, 0.001, Sending(gradients, factors=True), product_row_s=0.0001)
    point = Scaling(step, RING, 16, weak=False).at(3)
    assert point.bytes == 4 * (500_000 + 18 * 1500)
    assert point.step_s == pytest.approx(0.004 + 0.016 / 3 + 0.003 + 4 / 3 * 0.02108 + 0.0012)
    assert point.communication == pytest.approx(1 - (0.004 + 0.016 / 3) / point.step_s)
    # Weak: from 333 rows on the product is smaller, and nothing is formed of other rows.
    weak = Scaling(step, RING, 16, weak=True)
    assert [weak.at(n).bytes for n in (1, 20, 21)] == [2_096_000, 3_920_000, 4_000_000]
    assert weak.at(21).step_s == pytest.approx(0.020 + RING.seconds(21, 4_000_000))


def test_gathered_factors():
    """The same on 2 replicas, gathered: one message of half of the factors and all else.

    2.0 MB and half of 16 x 1500 numbers, 2.048 MB: 1 ms, 0.5 ms, 20.48 ms; 8 other rows.
    """
    gradients = Gradients(1_000_000, (DenseKernel("dense1/kernel", 1000, 500),))
    sent = Sending(gradients, factors=True, may_gather=True)
    point = Scaling(Step(0.004, 0.001, sent, product_row_s=0.0001), RING, 16, weak=False).at(2)
    assert point.step_s == pytest.approx(0.012 + 0.0015 + 0.02048 + 0.0008)
    # On 3 replicas two shares of 2.036 MB would be more than 4/3 of 2.108 MB.
    apart = sent._replace(may_gather=False)
    steps = [Step(0.004, 0.001, one) for one in (sent, apart)]
    points = [Scaling(step, RING, 16, weak=False).at(3) for step in steps]
    assert points[0] == points[1]


def test_where_it_stops_paying():
    """Weak, latency alone: 101 ms to compute, 2(n-1) ms to sum: half at n = 51.5."""
    ring, step = Ring(0.0, 0.001, 1e15), Step(0.0, 0.001, sending(1000))
    weak = Scaling(step, ring, 101, weak=True)
    assert weak.worth == 51
    assert weak.fastest == 1024  # each adds a little, for ever
    # Strong: 101/n + 2(n-1) ms is least at n = 7 (26.43; 6: 26.83; 8: 26.63); half of the
    # efficiency is at 202 = 101 + 2n(n-1) ms, n = 7.6.
    strong = Scaling(step, ring, 101, weak=False)
    assert strong.fastest == 7
    assert strong.worth == 7
    for border in (weak.worth, strong.worth):
        scaling = weak if border == 51 else strong
        assert scaling.at(border).efficiency >= 0.5 > scaling.at(border + 1).efficiency


def test_what_moves_the_border():
    weak = Scaling(Step(0.002, 0.001, sending(4_000_000)), RING, 16, weak=True)
    half = weak.step._replace(sending=sending(2_000_000))
    assert dataclasses.replace(weak, batch=64).worth > weak.worth
    assert dataclasses.replace(weak, batch=64, micro_batches=4).worth > weak.worth
    assert dataclasses.replace(weak, step=half).worth >= weak.worth


def test_the_fit_finds_what_made_the_times():
    sizes = (1024, 65536, 2**20, 4_000_000)
    rows = [(n, size, RING.seconds(n, size)) for n in (2, 3) for size in sizes]
    assert fit_ring(rows, {4_000_000}) == pytest.approx(RING)
    # Of two replicas alone a launch can't be told from two messages: 1 ms / 2 more for each.
    assert fit_ring(rows[:4], {4_000_000}) == pytest.approx(Ring(0.0, 0.001, 1e8))
    for rows, micro_batches in (([(64, 0.068), (32, 0.036)], 1), ([(64, 0.072), (32, 0.040)], 2)):
        step = fit_step(rows, STEP.sending, 0.5, micro_batches)
        assert step[:2] == pytest.approx(STEP[:2])
        assert step[2:] == (STEP.sending, 0.5)
    assert fit_step([(64, 0.064)], STEP.sending)[:2] == pytest.approx((0.0, 0.001))


def test_a_fit_has_nothing_below_zero():
    """Times that fall with the size, or with the images."""
    ring = fit_ring([(2, 1000, 0.010), (2, 10_000, 0.009)], {10_000})
    assert ring.alpha_s == pytest.approx(0.00475, rel=0.01)
    assert ring.bytes_per_s > 1e12
    step = fit_step([(64, 0.010), (32, 0.011)], STEP.sending)
    assert step.fixed_s == pytest.approx(0.0105, rel=0.01)
    assert step.image_s == 0.0


def test_doubling():
    assert doubling(1024) == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert doubling(5) == [2, 4]
