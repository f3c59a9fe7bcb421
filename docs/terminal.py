"""Draws docs/terminal.svg: a terminal of 100 columns while a run is trained.

    script -c "python -m mnist_dist.train --no_gpu --run_dir=runs/first" run.typescript
    python docs/terminal.py run.typescript 1200

What `script` recorded is played up to the first bar of a global step, and the last lines are drawn.
"""

import re
import sys
from html import escape
from pathlib import Path

ROWS, COLUMNS = 16, 100
NBSP = "\N{NO-BREAK SPACE}"  # others are drawn as one
WIDE_PX, HIGH_PX, EDGE_PX = 7.8, 18, 14
COMMAND = "python -m mnist_dist.train --no_gpu --run_dir=runs/first"


def screen(recording: str, step: int) -> list[str]:
    """The last lines as they stand when the bar first says `step`."""
    bar = re.search(rf"\rstep {step}/[^\r\n]* left", recording)
    if not bar:
        raise SystemExit(f"the recording has no bar of step {step} with a time left")
    lines = []
    for written in recording[: bar.end()].replace("\r\n", "\n").split("\n"):
        line = ""  # what a carriage return begins anew covers the old
        for part in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).split("\r"):
            line = part + line[len(part) :]
        lines.append(line.rstrip().expandtabs())
    return [f"$ {COMMAND}", "...", *lines[-ROWS:]]


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
    Path(__file__).with_suffix(".svg").write_text(svg(screen(recorded, int(sys.argv[2]))))
