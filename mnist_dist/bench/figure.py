"""The bench's picture, by matplotlib: `pip install 'mnist_dist[report]'`."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mnist_dist.bench.result import WAYS
from mnist_dist.run.plot_style import COLOURS, STYLE


def draw(report: dict[str, Any], path: Path) -> None:
    """Writes a PNG: throughput and efficiency over replicas, as measured and as predicted.

    Raises:
        OSError: it can't be written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, name, factor in zip(
            panels, ("images_per_s", "efficiency"), (1.0, 100.0), strict=True
        ):
            for way, colour in zip(WAYS, COLOURS, strict=False):
                here = [(lv["replicas"], factor * lv[way][name]) for lv in report["levels"]]
                axes.plot(*zip(*here, strict=True), "o", color=colour, label=f"{way}, measured")
                if report["prediction"] is None:
                    continue
                there = [
                    (point["replicas"], factor * point[name])
                    for point in report["prediction"][way]["points"]
                ]
                axes.plot(*zip(*there, strict=True), color=colour, label=f"{way}, predicted")
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlabel("replicas")
        panels[0].set_yscale("log")
        panels[0].set_title("images/s")
        panels[0].legend(frameon=False)
        panels[1].set_title("efficiency of a replica, %")
        panels[1].set_ylim(0.0, 105.0)
        figure.savefig(path, format="png", dpi=120, metadata={"Software": "mnist_dist"})
