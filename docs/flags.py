"""Writes docs/flags.md from the source of `--help`. A test holds the page against it.

Usage: python docs/flags.py
"""

from itertools import groupby
from pathlib import Path

from mnist_dist.flags import rows

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Flags

Of `python -m mnist_dist.train`, and of `python -m mnist_dist.doctor`, which judges them. Written by
`python docs/flags.py` from what `--help` prints. `--batch-size` is `--batch_size`; a flag without
a value is a switch, and `--no` in front of its name turns it off; a later flag wins; and
`--flagfile=PATH` reads flags from a file, one a line.
"""


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for group, members in groupby(rows(), lambda row: row.group):
        lines = [f"## {group}", "| flag | default | meaning |", "| --- | --- | --- |"]
        for row in members:
            cells = (f"`{row.usage}`", row.default, row.help)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
