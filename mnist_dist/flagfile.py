"""--flagfile: arguments read from files, which may name further files."""

import os
from collections.abc import Sequence
from pathlib import Path

from mnist_dist import bounded
from mnist_dist.errors import UsageError, shorten

MOST_FILES = 100
MOST_BYTES = 2**20  # of each
PATH = 200  # characters that are shown: a path that is to be checked is needed whole


def expand(argv: Sequence[str]) -> list[str]:
    """The arguments with those of each flagfile in its place.

    Args:
        argv: `--flagfile=PATH` or `--flagfile PATH` among them. In a file there is an argument a
            line; empty lines and those that begin with # or // don't count.

    Raises:
        UsageError: a file that can't be read, isn't text, is too long or named by itself.
    """
    expanded: list[str] = []
    words, budget = iter(argv), [MOST_FILES]
    for word in words:
        path = _named(word)
        if word in ("--flagfile", "-flagfile"):
            path = next(words, None)
            if path is None:
                raise UsageError("--flagfile with no argument; give the path of a file")
        if path is None:
            expanded.append(word)
        else:
            expanded += _lines(path, (), budget)
        if word == "--":
            break
    return [*expanded, *words]


def _named(word: str) -> str | None:
    """The path in `--flagfile=PATH`; None for another word."""
    name, equals, path = word.partition("=")
    return path.strip() if equals and name in ("--flagfile", "-flagfile") else None


def _lines(given: str, above: tuple[str, ...], budget: list[int]) -> list[str]:
    """The arguments in a file; `above` are the files that led to it, `budget` counts down."""
    if not given:
        return []
    if given in above:
        raise UsageError(f"--flagfile={shorten(given, PATH)}: names itself; take one of them out")
    budget[0] -= 1
    if budget[0] < 0:
        raise UsageError(
            f"--flagfile: more than {MOST_FILES} files one from another; put them in one"
        )
    found: list[str] = []
    for line in _read(given).split("\n"):
        path = _named(line)
        if path is not None:
            found += _lines(path, (*above, given), budget)
        elif line.strip() and not line.startswith(("#", "//")):
            found.append(line.strip())
    return found


def _read(given: str) -> str:
    try:
        return bounded.read_text(Path(os.path.expanduser(given)), MOST_BYTES)
    except OSError as error:
        why, cure = f"can't be read ({error.strerror})", "check the path"
    except ValueError as error:
        why, cure = str(error), "give a text file with a flag a line"
    raise UsageError(f"--flagfile={shorten(given, PATH)}: {why}; {cure}")
