"""From one replica to all."""

import pytest

from mnist_dist.bench.plan import Level, levels, travels
from mnist_dist.network.architecture import Stage


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


PLAIN = [Stage("dense1", (10,), (99, 10)), Stage("logits", (3,), (10, 3))]
NORMED = [Stage("dense1", (10,), (99, 10), normed=True), Stage("logits", (3,), (10, 3))]


def test_what_travels():
    """990 + 10 + 30 + 3 parameters; normalised 40 more, half of which have a gradient."""
    all_at_once = {"parameters": 1033, "bytes": 4132, "reductions": 1}
    assert travels(PLAIN, 4, False, 0, 1) == all_at_once
    assert travels(PLAIN, 8, False, 0, 3) == all_at_once | {"bytes": 8264}
    assert travels(PLAIN, 4, True, 0, 1) == all_at_once | {"bytes": 2066, "reductions": 2}
    assert travels(PLAIN, 4, False, 1000, 1) == all_at_once | {"reductions": 5}
    assert travels(NORMED, 4, False, 0, 3) == {"parameters": 1073, "bytes": 4212, "reductions": 7}
