"""Writes docs/flags.md from the source of `--help`. A test compares the page with it.

Usage: python docs/flags.py
"""

from itertools import groupby
from pathlib import Path

from mnist_dist.flags import rows

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Flags

The flags of `python -m mnist_dist.train`; the doctor and the bench take the same flags.
`python docs/flags.py` writes this page from the text of `--help`. `--batch-size` is the same as
`--batch_size`. A flag without a value is a switch, and `--no` in front of its name turns it off. A
later flag wins over an earlier one. `--flagfile=PATH` reads flags from a file, one per line.
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
