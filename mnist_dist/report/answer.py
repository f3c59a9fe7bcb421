"""The answer to "which was best, and is it real?", in words."""

from collections.abc import Sequence
from typing import NamedTuple

from mnist_dist.report.judge import Judgement, judge
from mnist_dist.report.runs import Run
from mnist_dist.report.settings import Setting, by_validation, same_test_set
from mnist_dist.report.tables import percent, points

CONTRADICTED = "contradicted by the test"


class Answer(NamedTuple):
    """What is read first.

    Attributes:
        headline: the best setting and its score.
        verdict: whether its lead is real.
        badge: the verdict in a word or two.
        how: how both were judged, a sentence each.
    """

    headline: str
    verdict: str
    badge: str
    how: list[str]


def answer(settings: Sequence[Setting], runs: Sequence[Run]) -> Answer:
    """Judges the settings, the best of which comes first."""
    best = settings[0]
    spread = best.deviation if best.deviation is not None else best.binomial
    seeds = len(best.test)
    kind = f"deviation over {seeds} seeds" if seeds > 1 else "binomial standard error, one seed"
    score = f"{percent(best.mean)} % ± {points(spread)} on the test set"
    how = [
        f"The figure after ± is the {kind}. Deviations, errors and leads are in percentage points."
    ]
    if len(settings) == 1:
        return Answer(f"{best.name}: {score}.", "There is no other setting here.", "", how)
    if not same_test_set(runs):
        return Answer(
            "These runs were tested on different images.",
            "Their scores can't be compared; give runs of one data set.",
            "no comparison",
            [],
        )
    how += _ranking(settings, runs)
    judgement = judge(best, settings[1])
    verdict, badge = _verdict(judgement, best, settings[1])
    rest = [(f"#{n}", judge(best, setting)) for n, setting in enumerate(settings[2:], 3)]
    even = [number for number, j in rest if not j.real]
    better = [number for number, j in rest if j.real and j.lead < 0.0]
    if even:
        start = "But it isn't" if judgement.real else "Nor is it"
        verdict += f" {start} told apart from {', '.join(even)}."
        badge = "not told apart from all" if judgement.real else badge
    if better:
        verdict += f" On the test set {', '.join(better)} is better by more than chance."
        badge = CONTRADICTED
    how.append(_judged(judgement))
    return Answer(f"{best.name} was best: {score}.", verdict, badge, how)


def _ranking(settings: Sequence[Setting], runs: Sequence[Run]) -> list[str]:
    if not by_validation([run for run in runs if not run.unfinished]):
        return [
            "Best is by test accuracy, because not every run has a validation split: a choice "
            "made on the test set flatters what it chooses. Give --validation_size."
        ]
    lines = [
        "Best is by validation accuracy, on which hyperparameters are to be chosen; the test "
        "accuracy is shown beside it."
    ]
    highest = max(settings, key=lambda s: s.mean)
    if highest.mean > settings[0].mean:
        lines.append(
            f"The highest test accuracy is that of {highest.name}, {percent(highest.mean)} %: "
            "to choose it for that would be to choose on the test set."
        )
    return lines


def _verdict(judgement: Judgement, best: Setting, second: Setting) -> tuple[str, str]:
    size = f"{points(abs(judgement.lead))} points"
    errors = f"{judgement.ratio:.2f} standard errors, and {judgement.needed:.2f} are needed"
    more = "take it as a tie, or run more seeds"
    if abs(judgement.lead) < 1e-9:
        return f"It ties with the second, {second.name}: the same test accuracy.", "a tie"
    if judgement.lead < 0.0:
        start = f"But on the test set the second, {second.name}, is {size} better"
        if judgement.real:
            return f"{start}, and that is more than chance: {errors}.", CONTRADICTED
        return f"{start}, which may be chance: {errors}; {more}.", "a tie"
    start = f"Its lead of {size} over the second, {second.name},"
    if not judgement.real:
        return f"{start} is not shown to be real: {errors}; {more}.", "a tie"
    if judgement.seed_error is None:
        return (
            f"{start} is more than the chance of the test images: {errors}. But with one seed each "
            "it isn't known whether it holds for others.",
            "real for these two runs",
        )
    if 1 in (len(best.test), len(second.test)):
        return (
            f"{start} is real if the one that has a single seed varies as the other does: "
            f"{errors}.",
            "a real lead, likely",
        )
    return f"{start} is real: {errors}.", "a real lead"


def _judged(judgement: Judgement) -> str:
    images = "paired image by image" if judgement.paired else "binomial of each setting"
    of_images = f"{points(judgement.image_error)} of the test images ({images})"
    if judgement.seed_error is None:
        parts = f"{of_images}; with one seed each nothing is known of other seeds"
    else:
        parts = f"{points(judgement.seed_error)} of the seeds and {of_images}"
    return (
        f"A lead is the difference of mean test accuracies; its standard error over the second is "
        f"{points(judgement.error)} points: {parts}. It is real where it passes Student's t at "
        "the 5 % level, less one image; each comparison is judged alone."
    )
