"""From one replica to all."""

import pytest

from mnist_dist.bench.plan import Level, levels


@pytest.mark.parametrize(
    ("workers", "devices", "expected"),
    [
        (1, 1, [(1, 1)]),
        (1, 4, [(1, 1), (1, 2), (1, 4)]),
        (3, 1, [(1, 1), (2, 1), (3, 1)]),
        (5, 8, [(1, 1), (1, 2), (1, 4), (1, 8), (2, 8), (4, 8), (5, 8)]),
    ],
)
def test_levels(workers, devices, expected):
    assert levels(workers, devices) == expected


def test_replicas():
    assert Level(workers=3, devices=8).replicas == 24
