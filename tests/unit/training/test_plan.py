"""What is due at which step."""

import pytest

from mnist_dist.training.plan import Plan

PLAN = Plan(
    epochs=2,
    max_steps=0,
    steps_per_epoch=40,
    block_steps=10,
    checkpoint_every_steps=0,
    log_interval=10,
    checkpoint_every_s=60.0,
)


@pytest.mark.parametrize(
    ("step", "age_s", "due"), [(10, 59.9, False), (10, 60.0, True), (40, 99.0, False)]
)
def test_a_checkpoint_by_time(step, age_s, due):
    """Not where the epoch's end saves anyway."""
    assert PLAN.save_due(step, age_s) == due


def test_without_a_limit_there_is_none():
    plan = PLAN._replace(checkpoint_every_s=0.0)
    assert not plan.save_due(10, 1e9)
    assert plan._replace(checkpoint_every_steps=10).save_due(10, 0.0)
