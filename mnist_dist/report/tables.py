"""The tables of the report, for the page and the terminal."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mnist_dist.errors import shorten
from mnist_dist.report.comparison import Comparison, compare
from mnist_dist.report.results import Predictions
from mnist_dist.report.runs import Run
from mnist_dist.report.settings import DASH, SAME_RUN, Setting, differing_flags, shown

MINUS = "\N{MINUS SIGN}"
MOST_COLUMNS = 8  # of the table of flags
PLACES = ("data_dir", "run_dir", "output_dir", "checkpoint_dir")


class Table(NamedTuple):
    """Rows of text under headings.

    Attributes:
        head: a heading for each column.
        rows: as many cells each as there are headings.
        settings: for each row, the setting it belongs to, counted from 0; None for none.
    """

    head: list[str]
    rows: list[list[str]]
    settings: list[int | None]

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, to be aligned at the right."""
        cells = [row[column].replace(",", "") for row in self.rows]
        return all(_is_number(cell) or cell == DASH for cell in cells)


def percent(share: float) -> str:
    """0.98765 as 98.77 (per cent)."""
    return f"{100.0 * share:.2f}"


def points(share: float, sign: str = "") -> str:
    """0.00123 as 0.12 (percentage points); a third digit where two would round to 0.00."""
    digits = 2 if round(abs(share), 4) or not share else 3
    return f"{100.0 * share:{sign}.{digits}f}".replace("-", MINUS)


def settings_table(settings: Sequence[Setting]) -> Table:
    """One row for each setting, the best first, with the flags that differ unless they are many."""
    validated = any(len(setting.validation) for setting in settings)
    columns: dict[str, list[str]] = {"#": [str(n + 1) for n in range(len(settings))]}
    if settings[0].named_by_run:
        columns["run"] = [setting.name for setting in settings]
    else:
        columns |= {f: [shown(s.flags[f]) for s in settings] for f in settings[0].flags}
    columns["seeds"] = [str(len(setting.test)) for setting in settings]
    if validated:
        means = [s.validation.mean() if len(s.validation) else None for s in settings]
        columns["validation, %"] = [DASH if mean is None else percent(mean) for mean in means]
    columns["test, %"] = [percent(setting.mean) for setting in settings]
    columns["deviation"] = [_or_dash(setting.deviation) for setting in settings]
    columns["binomial s.e."] = [points(setting.binomial) for setting in settings]
    if len(settings) > 1:
        best, *rest = settings
        judged = [compare(setting, best) for setting in rest]
        columns["lead over #1"] = [
            DASH, *(f"{points(j.lead, '+')} ± {points(j.error)}" for j in judged)
        ]  # fmt: skip
        significant = [_significant(j, trained(s, best)) for j, s in zip(judged, rest, strict=True)]
        columns["significant"] = [DASH, *significant]
    columns["trained, epochs"] = [f"{setting.epochs:.3g}" for setting in settings]
    columns["parameters"] = [f"{s.runs[0].result['parameters']:,}" for s in settings]
    columns["training, s"] = [f"{_mean(s, 'train_seconds'):,.1f}" for s in settings]
    stopped = [
        " ".join(dict.fromkeys(shorten(run.result["stopped"]) for run in s.runs)) for s in settings
    ]
    if len(set(stopped)) > 1:
        columns["stopped"] = stopped
    return _table(columns, list(range(len(settings))))


def flags_table(settings: Sequence[Setting]) -> Table:
    """One row for each flag that differs, a column for each of the best settings."""
    columns = {"flag": list(settings[0].flags)}
    for number, setting in enumerate(settings[:MOST_COLUMNS], 1):
        columns[f"#{number}"] = [shown(setting.flags[flag]) for flag in setting.flags]
    return _table(columns, [None] * len(columns["flag"]))


def runs_table(settings: Sequence[Setting]) -> Table:
    """One row for each finished run, in the settings' order."""
    pairs = [(n, run) for n, setting in enumerate(settings) for run in setting.runs]
    runs = [run for _, run in pairs]
    columns = {
        "run": [run.name for run in runs],
        "setting": [str(n + 1) for n, _ in pairs],
        "seed": [str(run.config["seed"]) for run in runs],
    }
    if any(run.result["validation_accuracy"] is not None for run in runs):
        accuracies = [run.result["validation_accuracy"] for run in runs]
        columns["validation, %"] = [DASH if a is None else percent(a) for a in accuracies]
    tested = [run.result["test_accuracy"] for run in runs]
    columns["test, %"] = [percent(accuracy) for accuracy in tested]
    columns["binomial s.e."] = [
        points(math.sqrt(p * (1.0 - p) / settings[n].examples))
        for (n, _), p in zip(pairs, tested, strict=True)
    ]
    columns["test loss"] = [f"{run.result['test_loss']:.4f}" for run in runs]
    columns["steps"] = [f"{run.result['steps']:,}" for run in runs]
    columns["epochs"] = [f"{run.result['epochs']:.3g}" for run in runs]
    columns["training, s"] = [f"{run.result['train_seconds']:,.1f}" for run in runs]
    columns["images/s"] = [f"{run.result['images_per_s']:,.0f}" for run in runs]
    columns["stopped"] = [shorten(run.result["stopped"]) for run in runs]
    hosts = [shorten(run.result.get("resources", {}).get("hostname", DASH)) for run in runs]
    if len(set(hosts)) > 1:
        columns["host"] = hosts
    for flag in differing_flags([run.config for run in runs]):
        if flag in SAME_RUN and flag not in (*PLACES, "seed"):
            columns[flag] = [shown(run.config.get(flag)) for run in runs]
    return _table(columns, [n for n, _ in pairs])


def unfinished_table(runs: Sequence[Run]) -> Table:
    """One row for each run that doesn't count, and why."""
    unfinished = [run for run in runs if run.unfinished]
    columns = {
        "run": [run.name for run in unfinished],
        "step": [f"{run.step:,}" for run in unfinished],
        "last validation, %": [_last(run, "validation") for run in unfinished],
        "last test, %": [_last(run, "test") for run in unfinished],
        "why it isn't counted": [run.unfinished for run in unfinished],
    }
    return _table(columns, [None] * len(unfinished))


def notes(runs: Sequence[Run]) -> list[str]:
    """Returns problems of files, and the versions that the runs were made with."""
    lines = [f"{run.name}: {note}." for run in runs for note in run.notes]
    found = [run.result.get("versions", {}) for run in runs if not run.unfinished]
    made = dict.fromkeys(
        shorten(", ".join(f"{k} {v}" for k, v in versions.items()), 300) for versions in found
    )
    if len(made) > 1:
        lines.append("The runs were made with different versions, which can change their numbers.")
    return [*lines, *(f"Made with {versions}." for versions in made if versions)]


def confusion(predictions: Predictions) -> np.ndarray:
    """How often each label (row) got each prediction (column), int64 [classes, classes]."""
    label, prediction = predictions.label, predictions.prediction
    classes = int(max(label.max(initial=0), prediction.max(initial=0))) + 1
    counts = np.bincount(label.astype(np.int64) * classes + prediction, minlength=classes**2)
    return counts.reshape(classes, classes)


def mistakes(predictions: Predictions, names: Sequence[str]) -> str:
    """How many test images are predicted wrongly, and which mistakes are the most frequent.

    `names` are those of the classes.
    """
    counts = confusion(predictions)
    wrong = int(counts.sum() - np.trace(counts))
    text = f"{wrong:,} of {len(predictions.label):,} test images are predicted wrongly"
    pairs = [
        (label, prediction, int(counts[label, prediction]))
        for label, prediction in np.argwhere(counts)
        if label != prediction
    ]
    most = sorted(pairs, key=lambda pair: -pair[2])[:3]
    listed = ", ".join(
        f"{names[label]} taken for {names[prediction]} ({n})" for label, prediction, n in most
    )
    return f"{text}; most often {listed}." if most else f"{text}."


def _table(columns: dict[str, list[str]], settings: Iterable[int | None]) -> Table:
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Table(list(columns), rows, list(settings))


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(MINUS, "-").split(" ± ")[0])
    except ValueError:
        return False
    return True


def trained(one: Setting, other: Setting) -> str:
    """Whether "longer" or "for less" than the other: by over a hundredth, else empty."""
    if abs(one.epochs - other.epochs) <= 0.01 * max(one.epochs, other.epochs):
        return ""
    return "longer" if one.epochs > other.epochs else "for less"


def _significant(comparison: Comparison, length: str) -> str:
    if not comparison.real:
        return "no"
    known = "yes" if comparison.seed_error is not None else "these runs"
    return f"{known}, trained {length}" if length else known


def _or_dash(share: float | None) -> str:
    return DASH if share is None else points(share)


def _mean(setting: Setting, name: str) -> float:
    values: list[Any] = [run.result[name] for run in setting.runs]
    return float(np.mean(values))


def _last(run: Run, split: str) -> str:
    accuracies = [record["accuracy"] for record in run.records if record["split"] == split]
    return percent(accuracies[-1]) if accuracies else DASH
