"""Early stopping on sequences worked out by hand."""

import dataclasses
import json

import pytest

from mnist_dist.training.early_stopping import EarlyStopping, Patience

LOSS, ACCURACY = "validation_loss", "validation_accuracy"


def look_at(values, monitor, min_delta=0.0):
    """Epochs waited after each value, and the memory at the end; 10 global steps an epoch."""
    settings = EarlyStopping(2, monitor, min_delta)
    name, other = monitor.removeprefix("validation_"), {LOSS: "accuracy", ACCURACY: "loss"}[monitor]
    memory = Patience()
    waited = []
    for epoch, value in enumerate(values, 1):
        memory.update(settings, 10 * epoch, {name: value, other: 0.5})
        waited.append(memory.waited)
    return waited, memory


@pytest.mark.parametrize(
    ("monitor", "values", "waited", "best_step", "best_value"),
    [
        (LOSS, [3.0, 2.0, 1.0], [0, 0, 0], 30, 1.0),
        (LOSS, [1.0, 2.0, 3.0], [0, 1, 2], 10, 1.0),
        (LOSS, [1.0, 1.5, 0.5, 0.7, 0.6], [0, 1, 0, 1, 2], 30, 0.5),
        (LOSS, [1.0, 1.0, 1.0], [0, 1, 2], 10, 1.0),  # as good is no improvement
        (ACCURACY, [0.1, 0.2, 0.3], [0, 0, 0], 30, 0.3),
        (ACCURACY, [0.9, 0.8, 0.9], [0, 1, 2], 10, 0.9),
        (ACCURACY, [0.5, 0.4, 0.6, 0.5], [0, 1, 0, 1], 30, 0.6),
    ],
)
def test_by_hand(monitor, values, waited, best_step, best_value):
    found, memory = look_at(values, monitor)
    assert found == waited
    assert (memory.best_step, memory.best_value) == (best_step, best_value)


def test_the_first_value_is_the_best_whatever_it_is():
    assert look_at([1e30], LOSS)[1] == Patience(10, 1e30, 0)
    assert look_at([0.0], ACCURACY)[1] == Patience(10, 0.0, 0)


@pytest.mark.parametrize(
    ("monitor", "values", "waited", "best_step"),
    [
        # Each is better than the last, but than the best by more than 0.25 only the fourth.
        (LOSS, [2.0, 1.9375, 1.875, 1.5, 1.25], [0, 1, 2, 0, 1], 40),
        # By exactly min_delta is not enough.
        (LOSS, [2.0, 1.75, 1.5], [0, 1, 0], 30),
        (ACCURACY, [0.25, 0.5, 0.5625, 0.5], [0, 1, 0, 1], 30),
    ],
)
def test_min_delta(monitor, values, waited, best_step):
    found, memory = look_at(values, monitor, min_delta=0.25)
    assert found == waited
    assert memory.best_step == best_step


@pytest.mark.parametrize("monitor", [LOSS, ACCURACY])
def test_saved_in_the_middle_it_goes_on_alike(monitor):
    """As a checkpoint keeps it: through JSON."""
    values = [1.0, 1.5, 0.5, 0.75, 0.25, 2.0]
    whole, at_end = look_at(values, monitor)
    for cut in range(1, len(values)):
        memory = look_at(values[:cut], monitor)[1]
        memory = Patience(**json.loads(json.dumps(dataclasses.asdict(memory))))
        settings, waited = EarlyStopping(2, monitor, 0.0), []
        for epoch, value in enumerate(values[cut:], cut + 1):
            memory.update(settings, 10 * epoch, {"loss": value, "accuracy": value})
            waited.append(memory.waited)
        assert waited == whole[cut:]
        assert memory == at_end
