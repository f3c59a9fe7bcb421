"""Trains: `python -m mnist_dist.train [--flags]`, or `run(Config(...))` from Python."""

import os
import sys
from collections.abc import Mapping

from mnist_dist import flags, topology
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SAVED,
    EXIT_USAGE,
    RunError,
    UsageError,
)
from mnist_dist.quiet import without_greetings
from mnist_dist.stop import Stop


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    stop = Stop()
    stop.listen()
    try:
        stopped = run(flags.parse(argv), os.environ, stop)
    except flags.HelpRequested as text:
        print(text)
        return 0
    except UsageError as error:
        print(f"mnist_dist: {error}", file=sys.stderr)
        return EXIT_USAGE
    except RunError as error:
        print(f"mnist_dist: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("mnist_dist: interrupted; the last checkpoint is what is left", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_SAVED if stopped == "preempted" else 0


def run(
    config: Config, environment: Mapping[str, str] | None = None, stop: Stop | None = None
) -> str:
    """Trains, from data to a result.

    Args:
        config: the flags.
        environment: launch variables, such as os.environ; None for this process alone.
        stop: to listen for signals; None leaves them alone.

    Returns:
        Why it stopped: completed, max_steps, patience or preempted; "described" for --describe.

    Raises:
        UsageError: a flag, the data, a folder or a checkpoint that doesn't fit.
        RunError: a failure at run time.
    """
    where = topology.from_environment(environment or {}, config.cluster)
    # Files are read before anything is started; TFDS needs TensorFlow, so devices come first.
    data = None if config.dataset else _load(config)
    if config.precision in ("float64", "mixed_float16"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it has neither, and says so often
    with without_greetings():
        from mnist_dist import session, wiring

        session.tf.config.list_physical_devices()  # the first look greets, too
    with session.join(config, where) as joined:
        if stop is not None:
            stop.listen()  # again: with other workers TensorFlow takes SIGTERM for itself
        data = data or _load(config)
        return wiring.train(config, joined, data, stop or Stop())


def _load(config: Config) -> sources.ImageData:
    return sources.load(config.data_dir, config.dataset, config.validation_size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
