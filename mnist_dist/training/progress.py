"""The progress of a run, apart from its variables."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mnist_dist.training.early_stopping import Patience


@dataclasses.dataclass
class Progress:
    """Steps, time and scores so far. The checkpoint has all of it.

    Attributes:
        step: global steps done.
        train_seconds: seconds of training over all attempts, without evaluations and saves.
        scores: split -> loss and accuracy of the last evaluation.
        patience: the state of early stopping.
        stopped: why the run is finished; empty before its end.
        bit_checks: the comparisons of bits so far, all of which found them equal.
    """

    step: int = 0
    train_seconds: float = 0.0
    scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    patience: Patience = dataclasses.field(default_factory=Patience)
    stopped: str = ""
    bit_checks: int = 0

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Progress":
        """Reads the progress from a checkpoint's state. Raises ValueError if it isn't there."""
        try:
            values = _fields(cls, {"bit_checks": 0, **state})  # not in older checkpoints
            patience = Patience(**_fields(Patience, values["patience"]))
            progress = cls(**{**values, "patience": patience})
            means = [score[name] for score in progress.scores.values() for name in SCORE]
            numbers = [progress.train_seconds, *means]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its state isn't one of this program ({error})") from error
        counts = progress.step, progress.bit_checks
        counted = all(type(count) is int and count >= 0 for count in counts)
        if not counted or not all(type(number) in (int, float) for number in numbers):
            raise ValueError("its state isn't one of this program (no step or no number)")
        return progress


SCORE = ("loss", "accuracy")


def _fields(kind: type, state: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: state[field.name] for field in dataclasses.fields(kind)}
