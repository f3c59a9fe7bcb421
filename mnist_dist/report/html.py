"""The report as one page that needs nothing else: no network, no other file, no script."""

import base64
import math
from collections.abc import Sequence
from html import escape

import numpy as np

from mnist_dist.report import figures
from mnist_dist.report.answer import CONTRADICTED, Answer, Ranking
from mnist_dist.report.results import Predictions, class_names
from mnist_dist.report.runs import NEIGHBOURS, PARTS, SMOOTHED_FROM, Run
from mnist_dist.report.settings import Setting, by_validation
from mnist_dist.report.style import CSS
from mnist_dist.report.tables import (
    Table,
    confusion,
    flags_table,
    mistakes,
    notes,
    percent,
    runs_table,
    settings_table,
    unfinished_table,
)
from mnist_dist.run.pictures import on_paper, png
from mnist_dist.run.plot_style import COLOURS, REST

LONG = 12  # a table of more runs is shown when asked for


def page(rankings: Sequence[Ranking], runs: Sequence[Run]) -> str:
    """The whole page."""
    finished = sum(not run.unfinished for run in runs)
    unfinished = unfinished_table(runs)
    counted = (
        f"{_count(finished, 'run')} of {_count(sum(len(r.settings) for r in rankings), 'setting')}"
    )
    left_out = f", {len(unfinished.rows)} more not counted" if unfinished.rows else ""
    sections = [f'<p class="eyebrow">mnist_dist, {counted}{left_out}</p>']
    if len(rankings) > 1:
        sections.append(
            f'<p class="verdict">Runs of {len(rankings)} data sets, which can\'t be compared: '
            "each by itself.</p>"
        )
    for ranking in rankings:
        if len(rankings) > 1:
            sections.append(f'<p class="eyebrow data">Data: {escape(ranking.data)}</p>')
        sections += _ranking(ranking)
    if unfinished.rows:
        sections.append(f"<section><h2>Not counted</h2>{_table(unfinished, [])}</section>")
    sections.append(f'<footer class="soft">{_list(notes(runs))}</footer>')
    title = "; ".join(ranking.answer.headline for ranking in rankings)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )


def _ranking(ranking: Ranking) -> list[str]:
    """The section of one data set."""
    _, settings, answer = ranking
    runs = [run for setting in settings for run in setting.runs]
    colours = [*COLOURS[: len(settings)], *[REST] * max(len(settings) - len(COLOURS), 0)]
    split = "validation" if by_validation(runs) else "test"
    best = settings[0].best_run
    headline = escape(answer.headline).replace(" %", "&nbsp;%").replace(" ± ", "&nbsp;±&nbsp;")
    return [
        f"<header><h1>{headline}</h1>{_verdict(answer)}</header>",
        f"<section><h2>Settings</h2>{_settings(settings, colours)}{_list(answer.how)}</section>",
        f"<section><h2>Curves</h2>{_curves(settings, colours, split)}</section>",
        f"<section><h2>Mistakes of the best run, {escape(best.name)}</h2>"
        f"{_mistakes(best)}</section>",
        f"<details{'' if len(runs) > LONG else ' open'}><summary>Single runs</summary>"
        f"{_table(runs_table(settings), colours, 'setting')}</details>",
    ]


def _verdict(answer: Answer) -> str:
    kinds = {"a real lead": "real", CONTRADICTED: "against", "": ""}
    kind = kinds.get(answer.badge, "open")
    badge = f'<span class="badge {kind}">{escape(answer.badge)}</span>' if answer.badge else ""
    return f'<p class="verdict">{badge}{escape(answer.verdict)}</p>'


def _table(table: Table, colours: Sequence[str], key: str = "", drawn: Sequence[str] = ()) -> str:
    """A table.

    Args:
        table: the text.
        colours: of each setting.
        key: the heading of the column that shows them.
        drawn: a further column after the standard errors: the heading, then each row's cell.
    """
    right = [table.numeric(column) for column in range(len(table.head))]
    lines = []
    for number, texts in enumerate([table.head, *table.rows]):
        setting = table.settings[number - 1] if number else None
        cells = []
        for name, text, numeric in zip(table.head, texts, right, strict=True):
            tag = "td" if number else 'th scope="col"'
            swatch = _swatch(colours[setting]) if name == key and setting is not None else ""
            align = ' class="n"' if numeric and name != "#" else ""
            shown = escape(text) if number else escape(text).replace("_", "_<wbr>")
            cells.append(f"<{tag}{align}>{swatch}{shown}</{tag[:2]}>")
            if drawn and name == "binomial s.e.":
                cells.append(drawn[number])
        lines.append(f"<tr{' class=best' if setting == 0 else ''}>{''.join(cells)}</tr>")
    body = "\n".join(lines[1:])
    return (
        f'<div class="scroll" tabindex="0"><table class="wrap"><thead>{lines[0]}</thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _swatch(colour: str) -> str:
    return f'<span class="swatch" style="background:{colour}"></span>'


def _settings(settings: Sequence[Setting], colours: Sequence[str]) -> str:
    values = np.concatenate([setting.test for setting in settings])
    spreads = [s.binomial if s.deviation is None else s.deviation for s in settings]
    means = np.array([setting.mean for setting in settings])
    high = float(max(values.max(), (means + spreads).max()))
    low = float(min(values.min(), (means - spreads).min()))
    low = max(low, high - 4.0 * max(high - float(np.median(means)), max(spreads)))
    strips = [f'<th scope="col">{percent(low)} to {percent(high)} %</th>']
    for setting, spread, colour in zip(settings, spreads, colours, strict=True):
        strips.append(f"<td>{_strip(setting, spread, colour, low, high)}</td>")
    table = _table(settings_table(settings), colours, "#", strips)
    if not settings[0].named_by_run:
        return table
    return f"{table}<h3>Flags that differ</h3>{_table(flags_table(settings), [])}"


def _strip(setting: Setting, spread: float, colour: str, low: float, high: float) -> str:
    """The test accuracies of a setting on a line: a dot for each seed, the mean, ± its spread."""

    def x(share: float) -> float:
        return 6.0 + 138.0 * min(max((share - low) / max(high - low, 1e-9), 0.0), 1.0)

    mean = x(setting.mean)
    dots = "".join(
        f'<circle cx="{x(value):.1f}" cy="11" r="3" fill="{colour}" fill-opacity="0.55"/>'
        for value in setting.test
    )
    label = f"mean {percent(setting.mean)} %, plus or minus {percent(spread)}"
    if setting.mean < low:
        return f'<span class="soft" role="img" aria-label="{label}">&#9664; far below</span>'
    return (
        f'<svg class="strip" viewBox="0 0 150 22" role="img" aria-label="{label}">'
        '<line x1="6" x2="144" y1="11" y2="11" stroke="#e6e8eb"/>'
        f'<line x1="{x(setting.mean - spread):.1f}" x2="{x(setting.mean + spread):.1f}" y1="11" '
        f'y2="11" stroke="{colour}" stroke-width="2"/>{dots}'
        f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="3" y2="19" stroke="{colour}" '
        'stroke-width="2"/></svg>'
    )


def _curves(settings: Sequence[Setting], colours: Sequence[str], split: str) -> str:
    legend = [
        f"<li>{_swatch(colour)}{number}: {escape(setting.name)}</li>"
        for number, (setting, colour) in enumerate(zip(settings, colours, strict=True), 1)
    ][: len(COLOURS)]
    if len(settings) > len(COLOURS):
        legend.append(f"<li>{_swatch(REST)}the other {len(settings) - len(COLOURS)} settings</li>")
    pictures = "\n".join(
        f'<figure><img alt="{escape(picture.alt)}" '
        f'src="data:image/svg+xml;base64,{_base64(picture.svg)}"></figure>'
        for picture in figures.curves(settings, colours, split)
    )
    return (
        f'<ul class="legend">{"".join(legend)}</ul><div class="curves">{pictures}</div>'
        f'<p class="soft">A line is a run. Training curves of {SMOOTHED_FROM} points or more are '
        f"smoothed: each of at most {PARTS} parts of a curve is drawn as the mean of itself and "
        f"{NEIGHBOURS} on either side; shorter ones are drawn as they were logged. "
        f"The {split} split is scored at each epoch's end. Of many accuracies the lowest tenth "
        "is cut off.</p>"
    )


def _mistakes(best: Run) -> str:
    predictions = best.predictions
    if predictions is None:
        return "<p>It has no predictions.npz to show.</p>"
    names, images = class_names(best.result, predictions), []
    for index, image in zip(predictions.mistake_index, predictions.mistake_image, strict=True):
        label = escape(names[predictions.label[index]])
        prediction = escape(names[predictions.prediction[index]])
        loss = predictions.loss[index]
        what = f"test image {index}: label {label}, prediction {prediction}"
        images.append(
            f'<figure><img alt="{what}" src="data:image/png;base64,'
            f'{_base64(png(on_paper(image)))}"><figcaption>{label} &rarr; <b>{prediction}</b>'
            f"<small>loss {loss:.2f}</small></figcaption></figure>"
        )
    return (
        f"<p>{escape(mistakes(predictions, names))}</p><h3>Confusion matrix</h3>"
        f"{_confusion(predictions, names)}"
        f"<h3>The {len(images)} worst mistakes: label &rarr; prediction</h3>"
        f'<div class="mistakes">{"".join(images)}</div>'
    )


def _confusion(predictions: Predictions, names: Sequence[str]) -> str:
    counts = confusion(predictions)
    largest = max(int((counts - np.diag(np.diag(counts))).max()), 1)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names[: len(counts)])
    rows = []
    for label, row in enumerate(counts):
        cells = "".join(_count_cell(int(n), label == i, largest) for i, n in enumerate(row))
        rows.append(f'<tr><th scope="row">{escape(names[label])}</th>{cells}</tr>')
    return (
        '<div class="scroll" tabindex="0"><table class="confusion"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="soft">A row is a label, a column a prediction; right ones are grey, and the '
        "more frequent a mistake, the darker it is.</p>"
    )


def _count_cell(count: int, right: bool, largest: int) -> str:
    if right:
        return f'<td class="right">{count}</td>'
    if not count:
        return '<td class="zero"></td>'
    return (
        f'<td style="background:rgba(213,94,0,{0.08 + 0.5 * math.sqrt(count / largest):.2f})">'
        f"{count}</td>"
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
