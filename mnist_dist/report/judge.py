"""Whether one setting is really better than another, or only luckier."""

import math
from typing import NamedTuple

import numpy as np

from mnist_dist.report.settings import Setting, same_test_labels

# Student's t, two-sided 5 %, for 1, 2, ... 30 degrees of freedom; more are taken as 30 or, where
# there's nothing to estimate, as endless.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
Z_975 = 1.960


class Judgement(NamedTuple):
    """One setting's lead over another in test accuracy.

    Attributes:
        lead: difference of the means over seeds; negative where the other is better.
        error: its standard error, both parts together.
        seed_error: the part of the seeds; None where each setting has one seed.
        image_error: the part of the test images.
        paired: whether that part is of the same images' answers, or binomial.
        needed: how many standard errors the lead must have at the 5 % level.
        image: what one test image counts for.
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
        """Whether the difference, in either direction, is more than chance gives."""
        return self.ratio > self.needed


def judge(one: Setting, other: Setting) -> Judgement:
    """Holds the difference of two mean test accuracies against its standard error.

    Two things make it uncertain: the seeds (Welch 1947; where one setting has a single seed it is
    taken to vary as the other does) and which images the test set has. For the second the same
    images' answers are paired where all runs have predictions.npz, which with one seed each is
    McNemar's test; else it's the binomial error of each. The degrees of freedom are
    Satterthwaite's (1946), of the seeds alone.
    """
    parts = _of_seeds(one, other)
    seeds = sum(square for square, _ in parts)
    answers = others = None
    if same_test_labels([*one.runs, *other.runs]):
        answers, others = _answers(one), _answers(other)
    paired = answers is not None and others is not None
    if answers is not None and others is not None:
        images = float((answers - others).var()) / one.examples
    else:
        images = one.binomial**2 + other.binomial**2
    return Judgement(
        lead=one.mean - other.mean,
        error=math.sqrt(seeds + images),
        seed_error=math.sqrt(seeds) if parts else None,
        image_error=math.sqrt(images),
        paired=paired,
        needed=_needed(seeds + images, sum(square**2 / freedom for square, freedom in parts)),
        image=1.0 / one.examples,
    )


def _of_seeds(one: Setting, other: Setting) -> list[tuple[float, int]]:
    """Independent estimates of the squared error over seeds, and the degrees of freedom of each."""
    both = [(s.deviation, len(s.test)) for s in (one, other)]
    known = [(deviation**2, seeds) for deviation, seeds in both if deviation is not None]
    if len(known) == 1:
        [(variance, seeds)] = known
        return [(variance * (1.0 / seeds + 1.0), seeds - 1)]
    return [(variance / seeds, seeds - 1) for variance, seeds in known]


def _needed(variance: float, estimated: float) -> float:
    """Student's t for a variance whose parts that were estimated say how well it is known."""
    if not estimated:
        return Z_975
    freedom = int(max(min(variance**2 / estimated, len(T_975)), 1))
    return T_975[freedom - 1]


def _answers(setting: Setting) -> np.ndarray | None:
    """Share of seeds that get each test image right, float [examples]."""
    seeds: dict[int, np.ndarray] = {}
    for run in setting.runs:
        if run.predictions is None:
            return None
        seeds[run.config["seed"]] = run.predictions.label == run.predictions.prediction
    share: np.ndarray = np.mean(list(seeds.values()), axis=0)
    return share
