"""Open files: worker 0 has a connection to every other worker, and ssh.sh to every host."""

import resource

from mnist_dist.errors import UsageError

OTHERS = 768  # strangers at the port, data, checkpoints, libraries


def ensure(num_workers: int) -> None:
    """Raises this process's soft limit of open files to what worker 0 needs.

    TensorFlow's service on worker 0 has a connection to each worker, too.

    Args:
        num_workers: of the run.

    Raises:
        UsageError: the hard limit is too low; the message has the number.
    """
    needed = 2 * num_workers + OTHERS
    most = allow(needed)
    if most < needed:
        raise UsageError(
            f"worker 0 needs {needed:,} open files for {num_workers:,} workers, and the hard limit "
            f"is {most:,}; raise it where the job starts, such as with ulimit -Hn {needed}"
        )


def allow(needed: int) -> int:
    """Raises this process's soft limit of open files, as far as the hard limit allows.

    Args:
        needed: open files.

    Returns:
        `needed`; or, if the hard limit is lower, that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    # An unlimited hard limit may still be bounded by the kernel (fs.nr_open).
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
