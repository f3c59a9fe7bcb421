"""The learning rate at steps worked out by hand."""

import math

import pytest

from mnist_dist.config import Config
from mnist_dist.training.schedule import LearningRateSchedule


def rates(steps, steps_per_epoch, **flags):
    given = Config(**flags)
    total = given.epochs * steps_per_epoch
    course = LearningRateSchedule(given.lr, given.schedule, given.warmup_steps, total)
    return [course.rate(step) for step in steps]


def test_constant():
    assert rates([0, 1, 99, 10**6], 10) == [0.01] * 4
    assert rates([0, 7], 10, optimizer="adam") == [0.001] * 2


def test_warm_up_is_a_line_that_reaches_the_peak_in_its_last_step():
    given = {"lr": 0.8, "warmup_steps": 4}
    assert rates(range(6), 10, **given) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert rates([3], 10, lr=0.8, warmup_steps=8, schedule="cosine") == pytest.approx([0.4])


def test_onecycle_over_two_epochs_of_ten():
    """20 steps: 6 up (30 %), then down by 1/14 a step; the step after the last would be at 0."""
    found = rates([0, 2, 5, 6, 7, 13, 19, 20], 10, epochs=2, lr=0.7, schedule="onecycle")
    wanted = [0.7 / 6, 0.7 / 2, 0.7, 0.7, 0.65, 0.35, 0.05, 0.0]
    assert found == pytest.approx(wanted, abs=1e-15)


def test_onecycle_with_a_warm_up_of_its_own():
    given = {"epochs": 2, "lr": 0.9, "schedule": "onecycle", "warmup_steps": 2}
    found = rates([0, 1, 2, 3, 11, 19], 10, **given)
    assert found == pytest.approx([0.45, 0.9, 0.9, 0.85, 0.45, 0.05])


def test_cosine_without_and_with_warm_up():
    given = {"epochs": 3, "lr": 0.4, "schedule": "cosine"}
    found = rates([0, 2, 4, 6, 8, 12], 4, **given)
    sixth = 0.2 * (1 + math.sqrt(3) / 2)  # (1 + cos 30°) / 2 of the peak
    assert found == pytest.approx([0.4, sixth, 0.3, 0.2, 0.1, 0.0])
    found = rates([1, 3, 4, 8, 11], 4, warmup_steps=4, **given)
    last = 0.2 * (1 + math.cos(math.pi * 7 / 8))
    assert found == pytest.approx([0.2, 0.4, 0.4, 0.2, last])


@pytest.mark.parametrize(("epochs", "warmup"), [(3, 0), (31, 10), (94, 1)])
def test_step_falls_to_a_tenth_at_each_third(epochs, warmup):
    third = (epochs * 10 - warmup) // 3
    borders = [warmup + third, warmup + 2 * third]
    steps = [warmup, borders[0] - 1, borders[0], borders[1] - 1, borders[1], epochs * 10 - 1]
    wanted = [0.5, 0.5, 0.05, 0.05, 0.005, 0.005]
    found = rates(steps, 10, epochs=epochs, lr=0.5, schedule="step", warmup_steps=warmup)
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("schedule", ["constant", "onecycle", "cosine", "step"])
def test_never_above_the_peak_nor_below_zero_and_lr_scales_it(schedule):
    given = {"epochs": 3, "schedule": schedule, "warmup_steps": 5}
    found = rates(range(40), 10, lr=0.3, **given)
    assert max(found) == 0.3
    assert min(found) >= 0.0
    assert rates(range(40), 10, lr=0.6, **given) == [2 * rate for rate in found]


def test_max_steps_cuts_a_schedule_off_and_does_not_shrink_it():
    given = {"epochs": 2, "schedule": "onecycle"}
    assert rates(range(15), 10, max_steps=15, **given) == rates(range(15), 10, **given)
