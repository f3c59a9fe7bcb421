"""Tests whether one setting's test accuracy is significantly better than another's."""

import math
from typing import NamedTuple

import numpy as np

from mnist_dist.report.settings import Setting, same_test_labels

# Student's t, two-sided 5 %, for 1, 2, ... 30 degrees of freedom. More count as 30; if no variance
# is estimated, the normal distribution is used.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
Z_975 = 1.960


class Comparison(NamedTuple):
    """One setting's lead over another in test accuracy. All accuracies are shares, 0..1.

    Attributes:
        lead: difference of the means over seeds; negative if the other setting is better.
        error: its standard error, of seeds and test images together.
        seed_error: the standard error due to the seeds; None if each setting has one seed.
        image_error: the standard error due to the choice of test images.
        paired: whether image_error is paired image by image; else it is binomial.
        needed: the lead that is significant at the 5 % level, in standard errors.
        image: the accuracy that one test image stands for.
    """

    lead: float
    error: float
    seed_error: float | None
    image_error: float
    paired: bool
    needed: float
    image: float

    @property
    def ratio(self) -> float:
        """The lead in standard errors, less one image (Edwards's correction for counts)."""
        size = max(abs(self.lead) - self.image, 0.0)
        return size / self.error if self.error else (math.inf if size else 0.0)

    @property
    def real(self) -> bool:
        """Whether the difference, in either direction, is significant."""
        return self.ratio > self.needed


def compare(one: Setting, other: Setting) -> Comparison:
    """Compares the mean test accuracies of two settings by a t-test.

    The variance has two terms. That of the seeds is Welch's (1947); a setting with a single seed is
    assumed to vary like the other one. That of the test images is paired image by image if all runs
    have predictions.npz (with one seed each, this is McNemar's test), else binomial. The degrees of
    freedom are Satterthwaite's (1946), of the seeds only.
    """
    estimates = _seed_variances(one, other)
    seeds = sum(variance for variance, _ in estimates)
    answers = others = None
    if same_test_labels([*one.runs, *other.runs]):
        answers, others = _answers(one), _answers(other)
    paired = answers is not None and others is not None
    if answers is not None and others is not None:
        images = float((answers - others).var()) / one.examples
    else:
        images = one.binomial**2 + other.binomial**2
    return Comparison(
        lead=one.mean - other.mean,
        error=math.sqrt(seeds + images),
        seed_error=math.sqrt(seeds) if estimates else None,
        image_error=math.sqrt(images),
        paired=paired,
        needed=_needed(
            seeds + images, sum(variance**2 / freedom for variance, freedom in estimates)
        ),
        image=1.0 / one.examples,
    )


def _seed_variances(one: Setting, other: Setting) -> list[tuple[float, int]]:
    """Returns estimates of the variance due to the seeds, each with its degrees of freedom."""
    both = [(s.deviation, len(s.test)) for s in (one, other)]
    known = [(deviation**2, seeds) for deviation, seeds in both if deviation is not None]
    if len(known) == 1:
        [(variance, seeds)] = known
        return [(variance * (1.0 / seeds + 1.0), seeds - 1)]
    return [(variance / seeds, seeds - 1) for variance, seeds in known]


def _needed(variance: float, estimated: float) -> float:
    """Returns Student's t for a variance with Satterthwaite's degrees of freedom."""
    if not estimated:
        return Z_975
    freedom = int(max(min(variance**2 / estimated, len(T_975)), 1))
    return T_975[freedom - 1]


def _answers(setting: Setting) -> np.ndarray | None:
    """Returns the share of seeds that predict each test image correctly, float [examples]."""
    seeds: dict[int, np.ndarray] = {}
    for run in setting.runs:
        if run.predictions is None:
            return None
        seeds[run.config["seed"]] = run.predictions.label == run.predictions.prediction
    share: np.ndarray = np.mean(list(seeds.values()), axis=0)
    return share
