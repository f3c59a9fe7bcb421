"""Draws docs/experiments.png from the runs of configs/sweeps.

Usage: python docs/experiments.py SWEEPS [PNG], where SWEEPS has the folders layers, optimizers,
patience and residual with the runs of those files. Needs matplotlib.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from mnist_dist.report.runs import read
from mnist_dist.report.settings import Setting, settings
from mnist_dist.run.plot_style import STYLE

TITLES = {
    "layers": "1. Layers",
    "optimizers": "2. Optimizers",
    "residual": "4. Residual, batch norm",
}
BLUE, RED = "#2a5fa5", "#c0392b"


def errors(axes: Axes, found: list[Setting], title: str) -> None:
    """Test error of each setting, a dot for each seed, the mean and its deviation."""
    for row, setting in enumerate(reversed(found)):
        seeds = 100.0 * (1.0 - setting.test)
        axes.plot(seeds, np.full(len(seeds), row), ".", color=BLUE, alpha=0.4)
        deviation = 100.0 * (setting.deviation or 0.0)
        axes.errorbar(seeds.mean(), row, xerr=deviation, fmt="o", color=BLUE, capsize=3)
    axes.set_yticks(range(len(found)), [label(setting) for setting in reversed(found)])
    means = [1.0 - setting.mean for setting in found]
    if max(means) > 4.0 * min(means):
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"{title}: test error, %")


def label(setting: Setting) -> str:
    """The setting in as few words as tell it from its sweep's others."""
    flags = setting.flags
    if "optimizer" in flags:
        return f"{flags['optimizer']} {flags['lr']:g}"
    if "residual" in flags:
        on = [name for name in ("residual", "batch_norm") if flags[name]]
        return " and ".join(on) or "neither"
    parts = [",".join(map(str, flags[name])) for name in ("conv_filters", "dense_units")]
    kernel = f" ({flags['kernel_size']}x{flags['kernel_size']})" if parts[0] else ""
    return f"conv {parts[0] or 'none'}{kernel}, dense {parts[1] or 'none'}"


def stops(axes: Axes, found: list[Setting]) -> None:
    """Validation loss of the runs without patience, and where those with it stopped."""
    for setting in found:
        patience = setting.flags["patience"]
        for run in setting.runs:
            curve = run.curve("validation")
            epochs = np.arange(1, len(curve["loss"]) + 1)
            if not patience:
                axes.plot(epochs, curve["loss"], color=BLUE, linewidth=1)
                continue
            marker = {1: "s", 3: "o"}.get(patience, "^")
            name = f"stopped by --patience={patience}" if run is setting.runs[0] else None
            axes.plot(epochs[-1], curve["loss"][-1], marker, color=RED, label=name, mfc="none")
    axes.set_title("3. Patience: validation loss over epochs")
    axes.legend(frameon=False)


def main(sweeps: Path, png: Path) -> None:
    """Draws all four and says what was written."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.5), layout="constrained", dpi=110)
        grid = figure.subplots(2, 2).flat
        for name, axes in zip(("layers", "optimizers", "patience", "residual"), grid, strict=True):
            found = settings(read([str(sweeps / name)]))
            if name == "patience":
                stops(axes, found)
            else:
                errors(axes, found, TITLES[name])
        figure.savefig(png, metadata={"Software": "mnist_dist"})
    print(f"Wrote {png}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/experiments.png"))
