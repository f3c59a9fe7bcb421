"""What all commands share: the parser, and how they end."""

import argparse
import contextlib
import difflib
import math
import re
import sys
from collections.abc import Callable, Container, Iterable, Sequence
from typing import NoReturn

from mnist_dist import exits
from mnist_dist.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SAVED,
    EXIT_USAGE,
    BitsDiffer,
    RunError,
    TextRequested,
    ToldToStop,
    UsageError,
    shorten,
)
from mnist_dist.run.console import complain
from mnist_dist.run.versions import version_line

HELP = ("--help", "-help", "-h", "-?", "--helpfull")
VERSION = ("--version", "-version")


class Parser(argparse.ArgumentParser):
    """The parser of all commands. It raises UsageError where argparse would print and exit.

    `--data-dir` and `-data_dir` mean `--data_dir`; flags can't be abbreviated. An argument that has
    no `type` can't be empty, since an empty path would mean the current folder; one of `type=str`
    can.

    Args:
        prog: the command line up to its arguments.
        description: the help's text, above the list of arguments.
        epilog: the text below it.
        advice: ends the messages about a wrong command line.
    """

    def __init__(
        self,
        prog: str,
        description: str | None,
        epilog: str = "",
        advice: str = "--help lists the arguments",
    ) -> None:
        self._advice = advice
        super().__init__(
            prog,
            description=(description or "").strip(),
            epilog=epilog.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.register("type", None, _not_empty)
        self.add_argument("-h", "--help", action="store_true", help="print this and exit")
        self.add_argument("--version", action="store_true", help="print the versions and exit")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Reads the arguments, and returns those that this parser doesn't know beside them.

        Raises:
            UsageError: a wrong command line.
            TextRequested: `--help` or `--version` was given.
        """
        answer_help(args, self.format_help)
        own = canonical(args, self._option_string_actions)
        return super().parse_known_args(own, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises UsageError for a wrong command line."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and unknown.startswith("--"):
            names = [name for name in self._option_string_actions if name.startswith("--")]
            raise UsageError(no_such_flag(unknown.split()[0], names, self._advice))
        raise UsageError(f"{message}; {self._advice}")


def _not_empty(text: str) -> str:
    """The type of arguments without another one. Raises ArgumentTypeError for an empty text."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a value")
    return text


def answer_help(argv: Sequence[str], help_text: Callable[[], str]) -> None:
    """Raises TextRequested if `--help` or `--version` is among the arguments before a `--`."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    if any(word in HELP for word in own):
        raise TextRequested(help_text().rstrip())
    if any(word in VERSION for word in own):
        raise TextRequested(version_line())


def canonical(argv: Sequence[str], known: Container[str]) -> list[str]:
    """Writes known flags as `--data_dir`, given as `--data-dir` or `-data_dir`.

    Args:
        argv: the arguments; those after a `--` stay as they are.
        known: the flags, with two dashes.
    """

    def name(word: str) -> str:
        given, equals, value = word.partition("=")
        flag = "--" + re.sub("^--?", "", given).replace("-", "_")
        return f"{flag}{equals}{value}" if given.startswith("-") and flag in known else word

    own = argv.index("--") if "--" in argv else len(argv)
    return [name(word) for word in argv[:own]] + list(argv[own:])


def no_such_flag(given: str, names: Iterable[str], advice: str) -> str:
    """The message for an unknown flag, with the known flag of the most similar name.

    Args:
        given: the flag with two dashes, and its value, if any.
        names: the known flags, with two dashes.
        advice: said if no name is similar.
    """
    name = given.partition("=")[0]
    near = difflib.get_close_matches(name.replace("-", "_")[2:], [n[2:] for n in names], n=1)
    hint = f"did you mean --{near[0]}?" if near else advice
    return f"{shorten(name)}: no such flag; {hint}"


def seconds(flag: str, example: str) -> Callable[[str], float]:
    """Returns a converter of a flag's text to a number of seconds above 0, for `add_argument`.

    Args:
        flag: its name.
        example: a value, for the message.
    """

    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0.0 < float(text) < math.inf:
                return float(text)
        raise UsageError(f"{flag}={text}: give seconds, more than 0, such as {flag}={example}")

    return convert


def answered(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Runs a command; turns the exception that ends it into one line on standard error.

    Args:
        command: returns the exit code.
        interrupted: the line after Ctrl-C.

    Returns:
        The exit code.
    """
    try:
        return command()
    except TextRequested as text:
        print(text)
        return 0
    except ToldToStop as error:
        complain(error)
        return EXIT_SAVED
    except BitsDiffer as error:
        complain(error)
        return error.exit_code
    except (UsageError, RunError) as error:
        complain(error)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except ImportError as error:  # another attempt wouldn't find it either
        print(exits.missing(error), file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print(f"mnist_dist: {interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
