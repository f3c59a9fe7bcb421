"""Latency and bandwidth from measured times."""

import pytest

from mnist_dist.devices.timing_fit import alpha_beta


def test_alpha_and_beta_are_found():
    sizes = [1_000, 1_000_000, 64_000_000]
    assert alpha_beta(sizes, [2e-4 + size / 5e8 for size in sizes]) == pytest.approx((2e-4, 5e8))


def test_neither_is_negative():
    """The best line through these has a negative latency: it counts as 0, and the slope is fitted
    for that."""
    alpha_s, bytes_per_s = alpha_beta([1_000, 10_000], [1e-6, 2e-5])
    assert alpha_s == 0.0
    relative = [1_000 / 1e-6, 10_000 / 2e-5]
    assert 1 / bytes_per_s == pytest.approx(sum(relative) / sum(r * r for r in relative))
    assert alpha_beta([1_000, 10_000], [2e-5, 1e-6])[1] == pytest.approx(1e15)
