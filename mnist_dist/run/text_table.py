"""Tables of aligned plain text."""

from collections.abc import Collection, Sequence


def aligned(
    rows: Sequence[Sequence[str]], left: Collection[int] = (), least_width: int = 0
) -> list[list[str]]:
    """Pads cells with spaces so that all cells of a column have the same width.

    Args:
        rows: cells, as many in each row.
        left: indices of the columns that are aligned to the left; the others are to the right.
        least_width: characters of the narrowest column.
    """
    widths = [max(least_width, *map(len, column)) for column in zip(*rows, strict=True)]
    styles = [f"{'<' if n in left else '>'}{width}" for n, width in enumerate(widths)]
    return [[f"{cell:{style}}" for cell, style in zip(row, styles, strict=True)] for row in rows]


def lines(
    rows: Sequence[Sequence[str]], left: Collection[int] = (), indent: str = "  "
) -> list[str]:
    """The rows of a table as lines of text, columns two spaces apart.

    Args:
        rows: cells, as many in each row.
        left: indices of the columns that are aligned to the left.
        indent: begins each line.
    """
    return [f"{indent}{'  '.join(cells)}".rstrip() for cells in aligned(rows, left)]
