"""The lines of flags of launch/sweep.slurm: each task of a job array trains with one."""

import shlex
from pathlib import Path

from mnist_dist import bounded
from mnist_dist.errors import UsageError

MOST_BYTES = 1 << 24


def line_of(path: Path, index: int) -> list[str]:
    """The flags of a task.

    Args:
        path: a text file. Empty lines don't count, nor does what follows a # at the beginning of a
            line or after a space, unless it is in quotes. Quotes and backslashes work as in a
            shell; nothing else is expanded.
        index: of the task, from 0.

    Raises:
        UsageError: the file can't be read, has no such line, or a quote in the line isn't closed.
    """
    try:
        text = bounded.read_text(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"can't read {path} ({reason}); give a file with lines of flags"
        ) from error
    rows = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    lines = enumerate(rows, start=1)
    kept = [(number, line) for number, line in lines if without_comment(line).strip()]
    if index >= len(kept):
        raise UsageError(
            f"task {index}, but {path} has {len(kept)} lines; give --array=0-{len(kept) - 1}"
        )
    number, line = kept[index]
    try:
        return shlex.split(without_comment(line))
    except ValueError as error:
        raise UsageError(f"{path}, line {number}: {str(error).lower()}: {line.strip()}") from error


def without_comment(line: str) -> str:
    """A line up to a # outside of quotes, at its beginning or after a space."""
    quote, escaped, before = "", False, " "
    for place, letter in enumerate(line):
        if escaped:  # a letter of a word, whatever it is
            escaped, before = False, "\\"
            continue
        if letter == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and before.isspace():
            return line[:place]
        before = letter
    return line
