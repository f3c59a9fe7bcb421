"""SLURM's compact way to write many host names."""

import itertools
import re

from mnist_dist.errors import UsageError


def expand_hostlist(text: str) -> list[str]:
    """SLURM's compact host list, such as `rack[1-2]n[01-04,7]-ib,login`, as single names, in order.

    Raises:
        UsageError: brackets that don't match, a range that isn't one.
    """
    names: list[str] = []
    for item in re.findall(r"(?:\[[^\]]*\]|[^,\[\]]|[\[\]])+", text):
        pieces = re.split(r"\[([^\]]*)\]", item)
        if any(mark in "".join(pieces[::2]) for mark in "[]"):
            raise UsageError(f"host list '{text}': brackets don't match")
        ranges = [_range(piece, text) for piece in pieces[1::2]]
        # SLURM's order, which ranks follow: the last bracket turns fastest, then the first, ...
        for *slow_first, fast in itertools.product(*ranges[-2::-1], *ranges[-1:] or [[""]]):
            numbers = [*reversed(slow_first), fast]
            pairs = zip(pieces[::2], [*numbers, ""], strict=False)
            names.append("".join(itertools.chain(*pairs)))
    return names


def _range(text: str, whole: str) -> list[str]:
    """`001-003,7` as its numbers, with their zeros."""
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"host list '{whole}': '{part}' is no number or range")
        last = int(match[2] or match[1])
        numbers += [f"{n:0{len(match[1])}d}" for n in range(int(match[1]), last + 1)]
    return numbers
