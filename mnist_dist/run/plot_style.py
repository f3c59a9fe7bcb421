"""The look of all plots: matplotlib's settings and the colours of lines."""

from typing import Any

STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": "#8a9099",
    "axes.grid": True,
    "axes.labelcolor": "#3d434b",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "grid.color": "#e6e8eb",
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "mnist_dist",  # so that the same runs give the same file
    "text.color": "#1b1f24",
    "xtick.color": "#3d434b",
    "ytick.color": "#3d434b",
}
"""For `matplotlib.rc_context`."""

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#b5489a", "#a67c00", "#3fa7e0", "#6b4fbb", "#444b54"),
)
"""Colours that colour-blind people can distinguish (after Okabe and Ito 2008)."""

REST = "#c3c8ce"
"""The colour of all lines beyond the first eight."""
