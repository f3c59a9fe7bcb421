"""Open files: worker 0 has a connection to every other worker."""

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
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or soft >= needed:
        # An unlimited hard limit may still be bounded by the kernel (fs.nr_open).
        enough = soft == resource.RLIM_INFINITY or soft >= needed
        if enough:
            return
    elif hard < needed:
        raise UsageError(
            f"worker 0 needs {needed:,} open files for {num_workers:,} workers, and the hard limit "
            f"is {hard:,}; raise it where the job starts, such as with ulimit -Hn {needed}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
