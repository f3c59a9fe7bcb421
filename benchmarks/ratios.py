"""Medians of paired ratios, with confidence intervals and ranges."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
FLAGGED = 0.10


class Ratio(NamedTuple):
    """One contestant against another, from rounds in which both had their turns.

    Attributes:
        median: of the rounds' ratios.
        low: of the median's 95 % interval.
        high: of the same.
        spread: from the ratios' first decile to their last, as a part of the median.
    """

    median: float
    low: float
    high: float
    spread: float

    @property
    def flagged(self) -> bool:
        """Whether the rounds disagree so much that the figure is doubtful."""
        return self.spread > FLAGGED


def ratio(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """How many times as long it took as the reference: round by round, then the median.

    The interval is the percentile bootstrap's (Efron 1979) of the median, over rounds.

    Args:
        times: of a contestant, one for each round.
        reference: of the other one, in the same rounds.
    """
    found = np.asarray(times, np.float64) / np.asarray(reference, np.float64)
    chosen = np.random.default_rng(0).integers(0, len(found), (RESAMPLES, len(found)))
    low, high = np.percentile(np.median(found[chosen], axis=1), [2.5, 97.5])
    first, median, last = np.percentile(found, [10, 50, 90])
    return Ratio(float(median), float(low), float(high), float((last - first) / median))
