"""The learning rate over the steps of a run."""

import math
from typing import NamedTuple


class LearningRateSchedule(NamedTuple):
    """The learning rate of each global step. Every schedule ends with the last epoch.

    After a linear warm-up to the peak: constant stays there. cosine falls to 0 along half a cosine
    (Loshchilov and Hutter 2017, without restarts). step divides by 10 after each third. onecycle
    falls to 0 in a straight line (Smith and Topin 2018, without their last phase); its warm-up is
    30 % of the run unless --warmup_steps is given.

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
