"""The course of the learning rate."""

import math
from typing import NamedTuple


class LearningRateSchedule(NamedTuple):
    """The learning rate of each global step; a schedule ends with the last epoch.

    constant: the peak, after the warm-up. cosine: half a cosine from the peak to 0 (Loshchilov
    and Hutter 2017, without restarts). step: a tenth after each third of the rest. onecycle: a
    straight line up and a straight line down to 0, warm-up 30 % unless there is one of its own
    (Smith and Topin 2018, without their last leg).

    Attributes:
        peak: the largest rate.
        schedule: constant, onecycle, cosine or step.
        warmup_steps: global steps of linear warm-up to the peak.
        total_steps: global steps of all epochs.
    """

    peak: float
    schedule: str
    warmup_steps: int
    total_steps: int

    def rate(self, step: int) -> float:
        """The learning rate of global step `step`, from 0."""
        warmup = self.warmup_steps
        if self.schedule == "onecycle" and not warmup:
            warmup = round(0.3 * self.total_steps)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        done, rest = step - warmup, max(self.total_steps - warmup, 1)
        past = min(done / rest, 1.0)
        factor = {
            "constant": 1.0,
            "onecycle": 1.0 - past,
            "cosine": (1.0 + math.cos(math.pi * past)) / 2.0,
            "step": 0.1 ** min(3 * done // rest, 2),
        }[self.schedule]
        return self.peak * factor
