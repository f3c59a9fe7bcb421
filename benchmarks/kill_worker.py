"""Sends one of a run's workers on this host a signal, and prints the time at which it did.

    python -m benchmarks.kill_worker RUN_DIR NUMBER [KILL|STOP]

The workers of the run in RUN_DIR are sorted by rank, and the one at NUMBER, modulo how many there
are, gets the signal, SIGKILL unless another is named. Prints seconds since 1970. Exit code 1 if
none of them runs on this host.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence

import psutil

from mnist_dist.cluster import topology

MODULE = ("-m", "mnist_dist.train")
NODE = "SLURMD_NODENAME"
"""Tells the nodes of a SLURM apart that share one kernel, as those of the tests do."""


def kill_worker(run_dir: str, number: int, signal_name: str = "KILL") -> float | None:
    """Sends a worker of a run a signal.

    Args:
        run_dir: the run's folder, as given in the workers' --run_dir.
        number: of the worker among those on this host, by rank; modulo how many there are.
        signal_name: KILL; or STOP, after which it is silent but there.

    Returns:
        Seconds since 1970 at the signal; None if no worker of the run is on this host.
    """
    ranks = {}
    for process in psutil.process_iter():
        try:
            if is_worker(process.cmdline(), run_dir):
                environment = process.environ()
                if environment.get(NODE) == os.environ.get(NODE):
                    ranks[process] = topology.from_environment(environment).rank
        except psutil.Error:  # it has just ended, or is another user's
            continue
    if not ranks:
        return None
    by_rank = sorted(ranks, key=lambda process: ranks[process])
    killed_at = time.time()
    by_rank[number % len(by_rank)].send_signal(signal.Signals[f"SIG{signal_name}"])
    return killed_at


def is_worker(words: Sequence[str], run_dir: str) -> bool:
    """Whether a command line is that of a trainer of the run, and not of srun or another launcher.

    Args:
        words: the command line.
        run_dir: as in `kill_worker`.
    """
    started = words[1:3] == [*MODULE] or words[1:4] == ["-u", *MODULE]
    return started and f"--run_dir={run_dir}" in words


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    run_dir, number, *name = argv
    killed_at = kill_worker(run_dir, int(number), *name)
    if killed_at is None:
        return 1
    print(killed_at)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
