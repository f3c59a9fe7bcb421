"""The command line that local.sh and ssh.sh share."""

import argparse
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from mnist_dist import flags
from mnist_dist.config import Config
from mnist_dist.errors import UsageError, shorten
from mnist_dist.launch.supervisor import Rules
from mnist_dist.run.command import Parser

GRACE_S = 20.0
TOOL_FLAGS = {"doctor": ("json", "burn_in"), "bench": ("json", "png", "seconds")}
"""Flags of a tool beside those of the trainer."""


def parser(script: str, description: str | None, example: str) -> Parser:
    """Returns a parser of the arguments that both have.

    Args:
        script: its path, for messages.
        description: the help's text.
        example: arguments of it, for the help.
    """
    made = Parser(
        script,
        description,
        f"example:\n  {script} {example}",
        advice="--help lists the arguments; give the flags of a run after --",
    )
    made.add_argument(
        "--grace",
        type=float,
        default=GRACE_S,
        metavar="SECONDS",
        help="when a worker has failed, the others are told to stop, and killed after this time "
        f"(default {GRACE_S:g})",
    )
    made.add_argument(
        "--restarts",
        type=int,
        default=0,
        metavar="NUMBER",
        help="after a failure start all workers again from the newest checkpoint; give up after so "
        "many restarts in a row without a newer checkpoint (default 0)",
    )
    made.add_argument(
        "-m",
        "--module",
        default="train",
        choices=("train", "doctor", "bench"),
        help="the command that each worker runs (default train)",
    )
    made.add_argument("flags", nargs="*", type=str, help="after --: flags of that command")
    return made


def worker_command(given: argparse.Namespace, python: Sequence[str]) -> list[str]:
    """The command line of each worker.

    Args:
        given: what the parser has read.
        python: the interpreter, with the command in front of it if there is one.
    """
    return [*python, "-u", "-m", f"mnist_dist.{given.module}", *given.flags]


def checked(given: argparse.Namespace) -> None:
    """Raises UsageError for arguments that don't go together."""
    if not 0 <= given.grace < math.inf:
        raise UsageError(f"--grace={given.grace}: give seconds, 0 or more")
    if given.restarts < 0:
        raise UsageError(f"--restarts={given.restarts}: give 0 or more")
    if given.restarts and given.module != "train":
        raise UsageError(
            f"--restarts={given.restarts} with -m {given.module}: only a training starts again; "
            "leave out one of the two"
        )


def rules(given: argparse.Namespace, launcher: str, config: Config) -> Rules:
    """The rules for restarts.

    Args:
        given: what the parser has read.
        launcher: its name, for messages.
        config: the run's flags.

    Raises:
        UsageError: the run couldn't be resumed.
    """
    if given.restarts and config.resume == "never":
        raise UsageError(
            f"--restarts={given.restarts} with --resume=never: each restart would begin anew; "
            "leave out one of the two"
        )
    folder = Path(config.checkpoint_dir)
    return Rules(launcher, given.restarts, folder)


def run_config(given: argparse.Namespace) -> Config:
    """The run's flags. Raises UsageError for a wrong one."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in TOOL_FLAGS.get(given.module, ()):
        own.add_argument(f"--{name}", nargs="?")
    return flags.parse(own.parse_known_args(given.flags)[1])


def words(environment: Mapping[str, str], name: str, default: str) -> list[str]:
    """The words of a variable that holds a command, with a shell's quotes.

    Args:
        environment: such as os.environ.
        name: of the variable.
        default: one word, if the variable is empty or not set.

    Raises:
        UsageError: a quote isn't closed.
    """
    given = environment.get(name, "")
    try:
        return shlex.split(given) or [default]
    except ValueError as error:
        raise UsageError(
            f"{name}={shorten(given)}: a quote isn't closed; give a command as in a shell"
        ) from error
