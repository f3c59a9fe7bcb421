"""Which setting was best, and whether its lead is significant, in words."""

from collections.abc import Sequence
from typing import NamedTuple

from mnist_dist.errors import shorten
from mnist_dist.report.comparison import Comparison, compare
from mnist_dist.report.runs import Run
from mnist_dist.report.settings import Setting, by_validation, data_sets, shown
from mnist_dist.report.settings import settings as grouped
from mnist_dist.report.tables import percent, points, trained

CONTRADICTED = "contradicted by the test"
UNCLEAR = "not significant against all"


class Answer(NamedTuple):
    """The head of the report.

    Attributes:
        headline: the best setting and its score.
        verdict: whether its lead is significant.
        badge: the verdict in a few words.
        how: sentences on the method.
    """

    headline: str
    verdict: str
    badge: str
    how: list[str]


class Ranking(NamedTuple):
    """The settings of one data set, ranked.

    Attributes:
        data: the set's name and fingerprint.
        settings: the best first.
        answer: which was best.
    """

    data: str
    settings: list[Setting]
    answer: Answer


def rankings(runs: Sequence[Run]) -> list[Ranking]:
    """Ranks the finished runs, those of each data set separately."""
    ranked = []
    for members in data_sets(runs):
        found = grouped(members)
        first = members[0]
        name = shown(first.config.get("dataset") or first.config.get("data_dir"))
        data = f"{name}, fingerprint {shorten(first.data[:8])}" if first.data else name
        ranked.append(Ranking(data, found, answer(found)))
    return ranked


def answer(settings: Sequence[Setting]) -> Answer:
    """Compares the settings of one data set.

    Args:
        settings: with the best first.
    """
    best = settings[0]
    spread = best.deviation if best.deviation is not None else best.binomial
    seeds = len(best.test)
    kind = f"deviation over {seeds} seeds" if seeds > 1 else "binomial standard error, one seed"
    score = f"{percent(best.mean)} % ± {points(spread)} on the test set"
    how = [
        f"The figure after ± is the {kind}. Deviations, errors and leads are in percentage points."
    ]
    if len(settings) == 1:
        verdict = f"There is no other setting here. It was trained for {best.length}."
        return Answer(f"{best.name}: {score}.", verdict, "", how)
    how += _ranking(settings)
    comparison = compare(best, settings[1])
    verdict, badge = _verdict(comparison, best, settings[1])
    verdict += f" {_lengths(best, settings[1])}"
    rest = [(f"#{n}", compare(best, setting)) for n, setting in enumerate(settings[2:], 3)]
    even = [number for number, j in rest if not j.real]
    better = [number for number, j in rest if j.real and j.lead < 0.0]
    if even:
        start = "But its lead" if comparison.real else "Nor is its lead"
        isnt = " isn't" if comparison.real else ""
        verdict += f" {start} over {', '.join(even)}{isnt} significant."
        badge = UNCLEAR if comparison.real else badge
    if better:
        verdict += f" On the test set {', '.join(better)} is significantly better."
        badge = CONTRADICTED
    length = trained(best, settings[1])
    if length and comparison.real and badge not in (CONTRADICTED, UNCLEAR):
        badge += f", trained {length}"
    how.append(_method(comparison))
    if any(trained(best, setting) for setting in settings):
        how.append(
            "Not all were trained for as long as the first: a lead may then be that of longer "
            "training, and not of the setting."
        )
    return Answer(f"{best.name} was best: {score}.", verdict, badge, how)


def _lengths(best: Setting, second: Setting) -> str:
    """Returns the sentence on training length."""
    length = trained(best, second)
    if not length:
        return f"Both were trained for {best.length}."
    why = "which alone may make the difference" if length == "longer" else "the second for more"
    return f"It was trained for {best.length}, the second for {second.length}: {why}."


def _ranking(settings: Sequence[Setting]) -> list[str]:
    if not by_validation([run for setting in settings for run in setting.runs]):
        return [
            "Settings are ranked by test accuracy, because not every run has held out the same "
            "images for validation. A choice made on the test set overestimates its accuracy. Give "
            "--validation_size."
        ]
    lines = [
        "Settings are ranked by validation accuracy, on which hyperparameters should be chosen; "
        "the test accuracy is shown beside it."
    ]
    highest = max(settings, key=lambda s: s.mean)
    if highest.mean > settings[0].mean:
        lines.append(
            f"The highest test accuracy is that of {highest.name}, {percent(highest.mean)} %: "
            "choosing it would be a choice on the test set."
        )
    return lines


def _verdict(comparison: Comparison, best: Setting, second: Setting) -> tuple[str, str]:
    size = f"{points(abs(comparison.lead))} points"
    errors = f"{comparison.ratio:.2f} standard errors, {comparison.needed:.2f} are needed"
    more = "take it as a tie, or run more seeds"
    if abs(comparison.lead) < 1e-9:
        return f"It ties with the second, {second.name}: the same test accuracy.", "a tie"
    if comparison.lead < 0.0:
        start = f"But on the test set the second, {second.name}, is {size} better"
        if comparison.real:
            return f"{start}, significantly: {errors}.", CONTRADICTED
        return f"{start}, not significantly: {errors}; {more}.", "a tie"
    start = f"Its lead of {size} over the second, {second.name},"
    if not comparison.real:
        return f"{start} isn't significant: {errors}; {more}.", "a tie"
    if comparison.seed_error is None:
        return (
            f"{start} is significant for these two runs: {errors}. With one seed each, it may not "
            "hold for other seeds.",
            "real for these two runs",
        )
    if 1 in (len(best.test), len(second.test)):
        return (
            f"{start} is significant if the setting with a single seed varies like the other: "
            f"{errors}.",
            "a real lead, likely",
        )
    return f"{start} is significant: {errors}.", "a real lead"


def _method(comparison: Comparison) -> str:
    images = "paired image by image" if comparison.paired else "binomial of each setting"
    of_images = f"{points(comparison.image_error)} of the test images ({images})"
    if comparison.seed_error is None:
        parts = f"{of_images}; the spread over seeds is unknown, with one seed each"
    else:
        parts = f"{points(comparison.seed_error)} of the seeds and {of_images}"
    return (
        f"A lead is the difference of mean test accuracies; its standard error over the second is "
        f"{points(comparison.error)} points: {parts}. It is significant if it passes a t-test at "
        "the 5 % level, less one image; comparisons aren't corrected for multiplicity."
    )
