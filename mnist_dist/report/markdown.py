"""The report for a terminal."""

import re
from collections.abc import Iterable, Sequence

from mnist_dist.report.answer import Ranking
from mnist_dist.report.results import class_names
from mnist_dist.report.runs import Run
from mnist_dist.report.tables import (
    Table,
    flags_table,
    mistakes,
    notes,
    runs_table,
    settings_table,
    unfinished_table,
)
from mnist_dist.run.text_table import aligned


def markdown(rankings: Sequence[Ranking], runs: Sequence[Run]) -> str:
    """The answers and the tables, as Markdown whose columns also line up as plain text."""
    parts = []
    if len(rankings) > 1:
        parts.append(f"Runs of {len(rankings)} data sets, which can't be compared: each by itself.")
    for ranking in rankings:
        if len(rankings) > 1:
            parts.append(f"Data: {_escaped(ranking.data)}")
        parts += _ranking(ranking)
    unfinished = unfinished_table(runs)
    if unfinished.rows:
        parts += ["## Not counted", _lines(unfinished)]
    parts += ["## Notes", _list(notes(runs))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ranking(ranking: Ranking) -> list[str]:
    _, settings, answer = ranking
    badge = f"**{answer.badge[:1].upper()}{answer.badge[1:]}.** " if answer.badge else ""
    parts = [
        f"# {_escaped(answer.headline)}",
        f"{badge}{_escaped(answer.verdict)}",
        "## Settings",
        _lines(settings_table(settings)),
        _lines(flags_table(settings)) if settings[0].named_by_run else "",
        _list(answer.how),
        "## Runs",
        _lines(runs_table(settings)),
    ]
    best = settings[0].best_run
    if best.predictions:
        heading = f"## Mistakes of the best run, {_escaped(best.name)}"
        names = [_escaped(name) for name in class_names(best.result, best.predictions)]
        parts += [heading, mistakes(best.predictions, names)]
    return parts


def _lines(table: Table) -> str:
    rows = [[_escaped(cell) for cell in row] for row in [table.head, *table.rows]]
    left = [n for n in range(len(table.head)) if not table.numeric(n)]
    head, *body = aligned(rows, left, least_width=3)
    rule = ["-" * (len(c) - 1) + ("-" if n in left else ":") for n, c in enumerate(head)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: names of runs and folders may contain anything.

    An underscore within a word, as in flags, needs no backslash.
    """
    return re.sub(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)", r"\\\g<0>", text)
