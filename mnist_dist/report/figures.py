"""The report's curves, by matplotlib: `pip install 'mnist_dist[report]'`."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from mnist_dist.report.runs import SMOOTHED_FROM, smooth
from mnist_dist.report.settings import Setting
from mnist_dist.run.plot_style import STYLE

MANY = 20  # accuracies, of which a tenth can be cut off


class PlainLog(LogFormatter):
    """Labels of a logarithmic axis as plain numbers: 0.2 in place of 2x10^-1."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Returns the label of a tick."""
        return f"{x:g}" if super().__call__(x, pos) else ""


class Picture(NamedTuple):
    """A drawing.

    Attributes:
        alt: what it shows, for those who don't see it.
        svg: the file.
    """

    alt: str
    svg: bytes


def curves(settings: Sequence[Setting], colours: Sequence[str], split: str) -> list[Picture]:
    """Loss and accuracy in training and on a split, over step and over time; the learning rate.

    Args:
        settings: the best first; it's drawn last, on top.
        colours: of each setting.
        split: "validation" or "test".
    """
    names = {"train": "training", "validation": "validation", "test": "test"}
    panels = [
        (part, quantity, across)
        for part in ("train", split)
        for quantity in ("loss", "accuracy")
        for across in ("step", "seconds")
    ]
    pictures = []
    for part, quantity, across in [*panels, ("train", "lr", "step")]:
        what = f"{names[part]} {quantity}" if quantity != "lr" else "learning rate"
        axis = "step" if across == "step" else "training time, s"
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(4.8, 2.8), layout="constrained")
            axes = figure.add_subplot()
            _panel(axes, settings, colours, (part, quantity, across))
            axes.set_title(what.capitalize() + (", %" if quantity == "accuracy" else ""))
            axes.set_xlabel(axis)
            file = io.BytesIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        runs = sum(len(setting.runs) for setting in settings)
        alt = f"{what} over {axis}, a line for each of {runs} runs in its setting's colour"
        pictures.append(Picture(alt.capitalize(), file.getvalue()))
    return pictures


def _panel(
    axes: Axes, settings: Sequence[Setting], colours: Sequence[str], what: tuple[str, str, str]
) -> None:
    part, quantity, across = what
    seen: list[np.ndarray] = []
    for setting, colour in reversed(list(zip(settings, colours, strict=True))):
        for run in setting.runs:
            curve = run.curve(part)
            if not len(curve["step"]):
                continue
            x, y = curve[across], curve[quantity]
            if part == "train" and quantity != "lr":
                x, y = smooth(x, y)
            y = 100.0 * y if quantity == "accuracy" else y
            marker = "o" if part != "train" or len(x) < SMOOTHED_FROM else ""
            axes.plot(x, y, color=colour, linewidth=1.1, marker=marker, markersize=3, alpha=0.85)
            seen.append(y)
    if not seen:
        axes.text(0.5, 0.5, "nothing was logged", ha="center", transform=axes.transAxes)
        return
    values = np.concatenate(seen)
    axes.set_xlim(left=_start_s(settings) if across == "seconds" else 0.0)
    if quantity == "loss" and values.min() > 0.0:
        axes.set_yscale("log")
        for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            ticks(PlainLog())
    if quantity == "accuracy" and values.max() > values.min():
        # The climb's first steps would press all the rest into a line.
        low, high = np.quantile(values, 0.1 if len(values) > MANY else 0.0), values.max()
        low = min(low, *(y.max() for y in seen))  # but no curve goes altogether
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _start_s(settings: Sequence[Setting]) -> float:
    """Returns the time of the first logged training step: until then, the graph is compiled."""
    curves = [run.curve("train")["seconds"] for setting in settings for run in setting.runs]
    return float(min((curve[0] for curve in curves if len(curve)), default=0.0))
