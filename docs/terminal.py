"""Draws docs/terminal.svg: a terminal of 100 columns while a run is trained, and when it has ended.

    script -c "python -m mnist_dist.train --no_gpu --run_dir=runs/first" run.typescript
    python docs/terminal.py run.typescript 4400

The recording by `script` is replayed up to the first progress bar from that global step on; the
last lines before it are drawn, and below them the run's last lines.
"""

import re
import sys
from html import escape
from pathlib import Path

BEFORE, AT_END, COLUMNS = 7, 4, 100
NBSP = "\N{NO-BREAK SPACE}"  # SVG joins ordinary spaces
WIDE_PX, HIGH_PX, EDGE_PX = 7.8, 18, 14
COMMAND = "python -m mnist_dist.train --no_gpu --run_dir=runs/first"


def replayed(recording: str) -> list[str]:
    """The lines as they are displayed: a carriage return overwrites the line from its start."""
    lines = []
    for written in recording.replace("\r\n", "\n").split("\n"):
        line = ""
        for part in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).split("\r"):
            line = part + line[len(part) :]
        lines.append(line.rstrip().expandtabs())
    return lines


def screens(recording: str, step: int) -> list[str]:
    """The last lines when the bar first shows `step` or a later one, and those of the end."""
    bars = re.finditer(r"\rstep (\d+)/[^\r\n]* left", recording)
    bar = next((bar for bar in bars if int(bar[1]) >= step), None)
    if not bar:
        raise SystemExit(f"the recording has no bar of step {step} with a time left")
    whole = re.sub(r"\nScript done on .*", "", recording, flags=re.S)
    during = replayed(recording[: bar.end()])
    end = [line for line in replayed(whole) if line]
    return [f"$ {COMMAND}", "...", *during[-BEFORE:], "...", *end[-AT_END:]]


def svg(lines: list[str]) -> str:
    """The lines as a picture."""
    width = COLUMNS * WIDE_PX + 2 * EDGE_PX
    height = len(lines) * HIGH_PX + 2 * EDGE_PX
    texts = "\n".join(
        f'<text x="{EDGE_PX}" y="{EDGE_PX + HIGH_PX * (row + 0.75):g}" '
        f'textLength="{len(line) * WIDE_PX:g}">{escape(line.replace(" ", NBSP))}</text>'
        for row, line in enumerate(lines)
        if line
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" font-family="ui-monospace, Menlo, Consolas, monospace" '
        f'font-size="13" fill="#d7dade">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>\n{texts}\n</svg>\n'
    )


if __name__ == "__main__":
    recorded = Path(sys.argv[1]).read_bytes().decode(errors="replace")
    Path(__file__).with_suffix(".svg").write_text(svg(screens(recorded, int(sys.argv[2]))))
