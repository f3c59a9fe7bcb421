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
"""Characters of a message: about a screenful of a narrow terminal, and never a file's content."""


class UsageError(Exception):
    """Wrong input: one line saying what was given, what is allowed and what to do."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class RunError(Exception):
    """A failure at run time: one line naming the worker, the host and the step."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class ToldToStop(RunError):
    """Told to stop before training began: there is nothing to save, and it can begin later."""


def one_line(text: str) -> str:
    """A message as it is printed: given names may hold newlines, controls, or a whole file."""
    text = shortened(text, LONGEST)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = 80) -> str:
    """What was given, for a message: its middle left out where it has more than `most` characters.

    What it begins with says what it is, and its end what to do.
    """
    if len(text) <= most:
        return text
    left = f" ...{len(text) - most} characters... "
    half = (most - len(left)) // 2
    return text[:half] + left + text[-half:]
