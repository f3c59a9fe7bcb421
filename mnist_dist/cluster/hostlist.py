"""SLURM's compact way to write many host names."""

import itertools
import re

from mnist_dist.errors import UsageError, shorten

MOST_HOSTS = 65536
"""More than any cluster has; SLURM itself stops at that by default (MAX_SLURM_NODES)."""
MOST_CHARACTERS = 2**17  # as much as Linux lets a variable hold
LONGEST_NAME = 255


def expand_hostlist(text: str) -> list[str]:
    """SLURM's compact host list, such as `rack[1-2]n[01-04,7]-ib,login`, as single names, in order.

    Raises:
        UsageError: brackets that don't match, a range that isn't one, more than MOST_HOSTS names.
    """
    if len(text) > MOST_CHARACTERS:
        raise _wrong(text, f"longer than {MOST_CHARACTERS:,} characters")
    names: list[str] = []
    for item in _items(text):
        pieces = re.split(r"\[([^\[\]]*)\]", item)
        if any(mark in "".join(pieces[::2]) for mark in "[]"):
            raise _wrong(text, "brackets don't match")
        ranges, count = list[list[str]](), 1
        for piece in pieces[1::2]:
            ranges.append(_range(piece, text))
            count *= len(ranges[-1])
            if count > MOST_HOSTS:
                raise _wrong(text, f"more than {MOST_HOSTS:,} hosts")
        longest = sum(map(len, pieces[::2])) + sum(max(map(len, each)) for each in ranges)
        if longest > LONGEST_NAME:
            raise _wrong(text, f"a name of more than {LONGEST_NAME} characters")
        if len(names) + count > MOST_HOSTS:
            raise _wrong(text, f"more than {MOST_HOSTS:,} hosts")
        # SLURM's order, which ranks follow: the last bracket turns fastest, then the first, ...
        for *slow_first, fast in itertools.product(*ranges[-2::-1], *ranges[-1:] or [[""]]):
            numbers = [*reversed(slow_first), fast]
            pairs = zip(pieces[::2], [*numbers, ""], strict=False)
            names.append("".join(itertools.chain(*pairs)))
    return names


def _items(text: str) -> list[str]:
    """The pieces between commas that aren't in brackets."""
    items: list[list[str]] = [[]]
    depth = 0
    for part in re.split(r"([\[\],])", text):
        depth += (part == "[") - (part == "]")
        if part == "," and depth <= 0:
            items.append([])
        else:
            items[-1].append(part)
    return [joined for item in items if (joined := "".join(item))]


def _range(text: str, whole: str) -> list[str]:
    """`001-003,7` as its numbers, with their zeros."""
    numbers: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise _wrong(whole, f"'{shorten(part)}' is no number or range")
        last = int(match[2] or match[1])
        if last - int(match[1]) + len(numbers) >= MOST_HOSTS:
            raise _wrong(whole, f"more than {MOST_HOSTS:,} hosts")
        numbers += [f"{n:0{len(match[1])}d}" for n in range(int(match[1]), last + 1)]
    return numbers


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(f"host list '{shorten(text)}': {what}")
