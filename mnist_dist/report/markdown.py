"""The report for a terminal."""

from collections.abc import Sequence

from mnist_dist.report.answer import Ranking
from mnist_dist.report.runs import Run
from mnist_dist.report.tables import (
    Table,
    mistakes,
    notes,
    runs_table,
    settings_table,
    unfinished_table,
)


def markdown(rankings: Sequence[Ranking], runs: Sequence[Run]) -> str:
    """The answers and the tables, as Markdown whose columns also line up as plain text."""
    parts = []
    if len(rankings) > 1:
        parts.append(f"Runs of {len(rankings)} data sets, which can't be compared: each by itself.")
    for ranking in rankings:
        if len(rankings) > 1:
            parts.append(f"Data: {ranking.data}")
        parts += _ranking(ranking)
    unfinished = unfinished_table(runs)
    if unfinished.rows:
        parts += ["## Not counted", _lines(unfinished)]
    parts += ["## Notes", "\n".join(f"- {line}" for line in notes(runs))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ranking(ranking: Ranking) -> list[str]:
    _, settings, answer = ranking
    badge = f"**{answer.badge[:1].upper()}{answer.badge[1:]}.** " if answer.badge else ""
    parts = [
        f"# {answer.headline}",
        f"{badge}{answer.verdict}",
        "## Settings",
        _lines(settings_table(settings)),
        "\n".join(f"- {line}" for line in answer.how),
        "## Runs",
        _lines(runs_table(settings)),
    ]
    best = settings[0].best_run
    if best.predictions:
        parts += [f"## Mistakes of the best run, {best.name}", mistakes(best.predictions)]
    return parts


def _lines(table: Table) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [table.head, *table.rows]]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    right = [table.numeric(column) for column in range(len(widths))]
    rule = ["-" * (width - 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)]
    padded = [
        [f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(row, widths, right, strict=True)]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [padded[0], rule, *padded[1:]])
