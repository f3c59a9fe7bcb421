"""Starts N workers on this machine, and ends when they have ended: launch/local.sh."""

from mnist_dist import exits

exits.begin(__name__)

import sys
from collections.abc import Sequence

from mnist_dist.errors import UsageError
from mnist_dist.launch import command
from mnist_dist.launch.processes import LocalStarter
from mnist_dist.launch.supervisor import Rules, supervise
from mnist_dist.launch.workers import Workers
from mnist_dist.run.command import answered

LAUNCHER = "local.sh"


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code of the first worker that failed, or 0."""
    return answered(lambda: _command(argv))


def _command(argv: Sequence[str]) -> int:
    parser = command.parser(
        "launch/local.sh", __doc__, "-n 4 --restarts=3 -- --epochs=1 --run_dir=runs/four"
    )
    parser.add_argument("-n", "--workers", type=int, required=True, help="number of workers")
    given = parser.parse_args(argv)
    if given.workers < 1:
        raise UsageError(f"-n {given.workers}: give 1 or more workers")
    command.checked(given)
    rules = Rules(LAUNCHER)
    if given.module == "train":
        config = command.run_config(given)  # a wrong flag is named once, not by each worker
        rules = command.rules(given, LAUNCHER, config)
    starter = LocalStarter(command.worker_command(given, [sys.executable]), given.workers)
    return supervise(Workers(LAUNCHER, given.grace), starter, rules)


if __name__ == "__main__":
    exits.end(main, needs_output=False)
