"""Starts N workers on this machine and waits for them: launch/local.sh."""

from mnist_dist import exits

exits.begin(__name__)

import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_dist import flags
from mnist_dist.errors import UsageError
from mnist_dist.launch.processes import Workers
from mnist_dist.launch.supervisor import supervise
from mnist_dist.run.command import Parser, answered


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code of the first worker that failed, or 0."""
    return answered(lambda: _command(argv))


def _command(argv: Sequence[str]) -> int:
    advice = "--help lists the arguments, the flags of a run stand after --"
    parser = Parser("launch/local.sh", __doc__, advice=advice)
    parser.add_argument("-n", "--workers", type=int, required=True, help="how many")
    parser.add_argument(
        "--grace", type=float, default=20.0, help="seconds for the others to end when one failed"
    )
    parser.add_argument(
        "--restarts",
        type=int,
        default=0,
        help="start all again from the newest checkpoint after a failure, so many times in a row "
        "without a newer one (default 0)",
    )
    parser.add_argument(
        "-m",
        "--module",
        default="train",
        choices=("train", "doctor", "bench"),
        help="what each of them runs: mnist_dist.train, or another",
    )
    parser.add_argument("flags", nargs="*", help="after --: flags of mnist_dist.train")
    given = parser.parse_args(argv)
    if given.workers < 1:
        raise UsageError(f"-n {given.workers}: give 1 or more workers")
    if given.restarts < 0:
        raise UsageError(f"--restarts={given.restarts}: give 0 or more")
    if given.restarts and given.module != "train":
        raise UsageError(
            f"--restarts={given.restarts} with -m {given.module}: only a training starts again; "
            "leave out one of the two"
        )
    command = [sys.executable, "-u", "-m", f"mnist_dist.{given.module}", *given.flags]
    if not given.restarts:
        return Workers(command, given.workers, given.grace).run()
    config = flags.parse(given.flags)
    if config.resume == "never":
        raise UsageError(
            f"--restarts={given.restarts} with --resume=never: each restart would begin anew; "
            "leave out one of the two"
        )
    workers = Workers(command, given.workers, given.grace)
    return supervise(workers, given.workers, Path(config.checkpoint_dir), given.restarts)


if __name__ == "__main__":
    exits.end(main, needs_output=False)
