"""Where a run stands, read back from a checkpoint."""

import dataclasses
import json

import pytest

from mnist_dist.training.early_stopping import Patience
from mnist_dist.training.progress import Progress

PROGRESS = Progress(
    step=24,
    train_seconds=1.5,
    scores={"test": {"loss": 0.25, "accuracy": 0.5}},
    patience=Patience(best_step=20, best_value=0.25, waited=1),
    stopped="patience",
    bit_checks=7,
)
STATE = json.loads(json.dumps({"identity": {}, **dataclasses.asdict(PROGRESS)}))


def test_a_new_run_is_at_the_beginning():
    assert dataclasses.astuple(Progress()) == (0, 0.0, {}, (None, 0.0, 0), "", 0)


def test_read_back():
    assert Progress.restored(STATE) == PROGRESS


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Progress)][:-1])
def test_nothing_may_be_missing(name):
    state = {key: value for key, value in STATE.items() if key != name}
    with pytest.raises(ValueError, match=f"its state isn't one of this program .*{name}"):
        Progress.restored(state)


def test_older_checkpoints_have_compared_nothing():
    state = {key: value for key, value in STATE.items() if key != "bit_checks"}
    assert Progress.restored(state) == dataclasses.replace(PROGRESS, bit_checks=0)


@pytest.mark.parametrize(
    "harm",
    [
        {"step": -5},
        {"step": True},
        {"step": 24.0},
        {"step": "24"},
        {"step": None},
        {"bit_checks": -1},
        {"bit_checks": True},
        {"train_seconds": "1"},
        {"train_seconds": None},
        {"scores": []},
        {"scores": {"test": {}}},
        {"scores": {"test": None}},
        {"scores": {"test": {"loss": None, "accuracy": 0.5}}},
        {"patience": None},
        {"patience": {"best_step": 1}},
    ],
    ids=str,
)
def test_what_is_no_progress(harm):
    with pytest.raises(ValueError, match="its state isn't one of this program"):
        Progress.restored({**STATE, **harm})
