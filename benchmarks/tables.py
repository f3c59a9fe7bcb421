"""A comparison's result as a table and as JSON."""

import importlib.metadata
import os
import statistics
from typing import Any

from benchmarks.contest import Comparison, Outcome
from benchmarks.ratios import ratio
from mnist_dist.devices.processor import CACHES, CPUINFO, processor
from mnist_dist.devices.resources import available_cores
from mnist_dist.run.versions import versions

BUSY = 0.5
"""Load average from which on a machine isn't quiet."""

HEAD = """| who | ms: least, median, most | times as long as {reference} (95 % interval) | \
spread | start, s | peak MiB |
| --- | --- | --- | --- | --- | --- |"""


def machine() -> dict[str, Any]:
    """The CPU and the versions that a figure is of, and how busy others keep the machine."""
    found = {**versions(), **processor(CPUINFO, CACHES), "cores": len(available_cores())}
    found["load_before"] = os.getloadavg()[0]
    try:
        found["torch"] = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        found["torch"] = "not installed"
    return found


def as_dict(comparison: Comparison, outcome: Outcome) -> dict[str, Any]:
    """What the table says, and all that it was made of."""
    reference = next(iter(outcome.seconds))
    unit, count = comparison.unit
    rows = {}
    for name, seconds in outcome.seconds.items():
        found = ratio(seconds, outcome.seconds[reference])
        rows[name] = {
            f"ms_a_{unit}": [1e3 * taken / count for taken in seconds],
            "ratio": {**found._asdict(), "flagged": found.flagged},
            "start_s": outcome.start_s.get(name),
            "peak_bytes": outcome.peak_bytes[name],
            "first_losses": outcome.losses.get(name),
        }
    return {
        "title": comparison.title,
        "unit": unit,
        "reference": reference,
        "rows": rows,
        "not_installed": outcome.absent,
    }


def table(found: dict[str, Any]) -> str:
    """Markdown, from what `as_dict` gives."""
    lines = [f"## {found['title']}, ms a {found['unit']}", ""]
    lines += [HEAD.format(reference=found["reference"])]
    for name, row in found["rows"].items():
        times, part = row[f"ms_a_{found['unit']}"], row["ratio"]
        middle = statistics.median(times)
        spread = f"{100 * part['spread']:.0f} %{' (!)' if part['flagged'] else ''}"
        start = "" if row["start_s"] is None else f"{row['start_s']:.1f}"
        lines.append(
            f"| {name} | {min(times):.1f}, {middle:.1f}, {max(times):.1f} "
            f"| {part['median']:.3f} ({part['low']:.3f} to {part['high']:.3f}) "
            f"| {spread} | {start} | {row['peak_bytes'] / 2**20:.0f} |"
        )
    lines += [f"| {name} | not installed | | | | |" for name in found["not_installed"]]
    if any(row["ratio"]["flagged"] for row in found["rows"].values()):
        lines += ["", "(!) the rounds' ratios spread over more than 10 %: no figure to rely on."]
    return "\n".join(lines)


def say(found: dict[str, Any]) -> str:
    """The machine in a line, and another where it isn't quiet."""
    names = ("cpu", "cores", "cpu_features", "tensorflow", "keras", "torch", "python")
    line = ", ".join(f"{name} {found[name]}" for name in names)
    if found["load_before"] > BUSY:
        line += f"\n(!) load {found['load_before']:.1f} before the start: other processes disturb"
    return line
