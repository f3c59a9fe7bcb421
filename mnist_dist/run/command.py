"""What all commands share: the parser, and how they end."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from mnist_dist.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SAVED,
    EXIT_USAGE,
    RunError,
    ToldToStop,
    UsageError,
    VersionRequested,
    shorten,
)
from mnist_dist.run.console import complain
from mnist_dist.run.versions import version_line


class _Version(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        raise VersionRequested


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit; has --version."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_argument("--version", action=_Version, nargs=0, help="print the versions")

    def error(self, message: str) -> NoReturn:
        """Raises UsageError for a wrong command line."""
        raise UsageError(f"{message}; --help lists the arguments")


def answered(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Runs a command; what ends it early becomes one line on standard error, and an exit code.

    Args:
        command: returns the exit code.
        interrupted: what is said of Ctrl-C.
    """
    try:
        return command()
    except VersionRequested:
        print(version_line())
        return 0
    except ToldToStop as error:
        complain(error)
        return EXIT_SAVED
    except (UsageError, RunError) as error:
        complain(error)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except ImportError as error:  # another try won't find it either
        complain(UsageError(f"{shorten(error, 500)}; install what is missing"))
        return EXIT_USAGE
    except KeyboardInterrupt:
        print(f"mnist_dist: {interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED


def leave(code: int) -> NoReturn:
    """Ends the process of a command that used TensorFlow; after a failure, at once.

    Python's own end would wait for the thread of a slow save, and takes TensorFlow apart: when a
    GPU's memory was full, its allocator then aborts the process.

    Args:
        code: the command's exit code.
    """
    if code in (EXIT_FAILED, EXIT_INTERRUPTED):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # whoever reads may have gone
                stream.flush()
        os._exit(code)
    sys.exit(code)
