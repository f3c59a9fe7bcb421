"""--flagfile: reads arguments from files, which may name further files."""

import os
from collections.abc import Sequence
from pathlib import Path

from mnist_dist import bounded
from mnist_dist.errors import UsageError, shorten

MOST_FILES = 100
MOST_BYTES = 2**20  # of each
PATH_CHARACTERS = 200  # shown of a path: enough to check it


def expand(argv: Sequence[str]) -> list[str]:
    """Replaces each flagfile among the arguments by its content.

    Args:
        argv: arguments, with `--flagfile=PATH` or `--flagfile PATH` among them. A file has one
            argument a line; empty lines and lines that begin with # or // are skipped.

    Raises:
        UsageError: a file can't be read, isn't text, is too long, or names itself.
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
        raise UsageError(f"--flagfile={_shown(given)}: it names itself; take one of them out")
    budget[0] -= 1
    if budget[0] < 0:
        raise UsageError(
            f"--flagfile: more than {MOST_FILES} files in one another; put them into one"
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
    raise UsageError(f"--flagfile={_shown(given)}: {why}; {cure}")


def _shown(path: str) -> str:
    return shorten(path, PATH_CHARACTERS)
