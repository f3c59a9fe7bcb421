"""The ways in which a command of this package ends badly, and its exit codes."""

EXIT_FAILED = 1
"""A failure at run time: a peer lost, a disk full, a loss that is not finite."""

EXIT_USAGE = 2
"""A user's mistake: nothing was started and nothing was written over."""

EXIT_SAVED = 75
"""Told to stop, saved, to go on later (EX_TEMPFAIL of sysexits.h): a launcher requeues on it."""

EXIT_INTERRUPTED = 130
"""A second Ctrl-C: 128 and the signal's number, as shells have it."""

LONGEST = 1000
"""Characters of a message, whatever was given."""


class UsageError(Exception):
    """Wrong input: one line saying what was given, what is allowed and what to do.

    Attributes:
        command: a command line that does it, with which the line then ends; else empty.
    """

    def __init__(self, text: str, command: str = "") -> None:
        super().__init__(f"{text}: {command}" if command else text)
        self.command = command

    def __str__(self) -> str:
        return shorten(super().__str__(), LONGEST)


class RunError(Exception):
    """A failure at run time: one line naming the worker, the host and the step."""

    def __str__(self) -> str:
        return shorten(super().__str__(), LONGEST)


class ToldToStop(RunError):
    """Told to stop before training began: there is nothing to save, and it can begin later."""


class VersionRequested(Exception):
    """`--version` was given."""


def shorten(given: object, most: int = 80) -> str:
    """What was given, for a message: one line of at most `most` characters, both ends kept.

    Names may hold newlines and escapes, and be of any length.
    """
    kept = _cut(str(given), most)
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return _cut("".join(shown), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]}...{text[-tail:]}"
