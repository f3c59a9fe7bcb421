"""--precision=auto: the fastest arithmetic that trains like float32, measured at the start.

Each candidate trains the run's own first steps from its own initial weights, on worker 0's first
device; then they are forgotten. Worker 0 chooses for all, and a resumed run keeps the choice.
"""

from collections.abc import Sequence
from typing import NamedTuple

ALIKE = 0.02  # relative difference of the loss over the steps that all make
GAIN = 0.97  # a coarser arithmetic that takes more than this part of the time isn't worth it


class Trial(NamedTuple):
    """What a candidate did.

    Attributes:
        precision: its name.
        ms: milliseconds a step, the better of two calls.
        loss: mean over the run's first steps, as many for all, in nats.
    """

    precision: str
    ms: float
    loss: float


def choose(trials: Sequence[Trial]) -> tuple[str, str]:
    """The chosen precision, and a line that says why; the first trial is what is compared with."""
    first, best = trials[0], trials[0]
    for trial in trials[1:]:
        alike = abs(trial.loss - first.loss) <= ALIKE * first.loss  # never, if it isn't finite
        limit = GAIN * first.ms if best is first else best.ms
        if alike and trial.ms < limit:
            best = trial
    figures = ", ".join(f"{t.precision} {t.ms:.2f} (loss {t.loss:.4f})" for t in trials)
    return best.precision, f"measured, ms a step: {figures}"
