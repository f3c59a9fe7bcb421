"""The exceptions that end a command, and its exit codes."""

from collections.abc import Sequence

EXIT_FAILED = 1
"""A failure at run time: a peer lost, a disk full, a loss that is not finite."""

EXIT_USAGE = 2
"""Wrong input: nothing was started and nothing was overwritten."""

EXIT_WRONG_BITS = 76
"""This worker computed wrong bits, or may have: a launcher leaves its host out."""

EXIT_SAVED = 75
"""Stopped by a signal after saving (EX_TEMPFAIL of sysexits.h): a launcher requeues on it."""

EXIT_INTERRUPTED = 130
"""Ctrl-C: 128 plus the signal's number, the shells' convention."""

LONGEST = 1000
"""Characters of a message, however long the input that it quotes."""


class UsageError(Exception):
    """Wrong input. The message is one line: what was given, what is allowed, what to do.

    Attributes:
        command: a command line to run instead, the end of the message; empty if there is none.
    """

    def __init__(self, text: str, command: str = "") -> None:
        super().__init__(f"{text}: {command}" if command else text)
        self.command = command

    def __str__(self) -> str:
        return shorten(super().__str__(), LONGEST)


class RunError(Exception):
    """A failure at run time. The message is one line that names the worker, host and step."""

    def __str__(self) -> str:
        return shorten(super().__str__(), LONGEST)


class BitsDiffer(RunError):
    """Replicas have different bits where they must be equal; raised on all workers at one step.

    Attributes:
        exit_code: EXIT_WRONG_BITS on a worker that is to blame or may be, else EXIT_FAILED.
    """

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class ToldToStop(RunError):
    """Stopped by a signal before training began; there was nothing to save."""


class TextRequested(Exception):
    """`--help` or `--version` was given: the command prints the exception's text and succeeds."""


def shorten(given: object, most: int = 80) -> str:
    """A value for a message: one line of at most `most` characters, its beginning and its end.

    Newlines and control characters are escaped.
    """
    kept = _cut(str(given), most)
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return _cut("".join(shown), most)


def listing(names: Sequence[str], most: int = 8, separator: str = ", ") -> str:
    """Names for a message, the first `most` of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]}...{text[-tail:]}"
