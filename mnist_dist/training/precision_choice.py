"""The choice among measured precisions: the fastest whose loss is that of float32."""

from collections.abc import Sequence
from typing import NamedTuple

MOST_LOSS_DIFFERENCE = 0.02  # relative to float32's, over the compared steps
LEAST_GAIN = 0.97  # of float32's time: a lower precision has to be at least this fast


class Trial(NamedTuple):
    """A precision as measured.

    Attributes:
        precision: its name.
        ms: milliseconds a step, the better of two calls.
        loss: mean over the compared steps, in nats.
    """

    precision: str
    ms: float
    loss: float


def choose(trials: Sequence[Trial]) -> tuple[str, str]:
    """The chosen precision, and a phrase that says why; the first trial is the reference."""
    first, best = trials[0], trials[0]
    for trial in trials[1:]:
        alike = (
            abs(trial.loss - first.loss) <= MOST_LOSS_DIFFERENCE * first.loss
        )  # False if it isn't finite
        limit = LEAST_GAIN * first.ms if best is first else best.ms
        if alike and trial.ms < limit:
            best = trial
    figures = ", ".join(f"{t.precision} {t.ms:.2f} (loss {t.loss:.4f})" for t in trials)
    return best.precision, f"measured, ms a step: {figures}"
