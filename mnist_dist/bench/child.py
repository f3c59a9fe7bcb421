"""The process that measures one number of replicas: `python -m mnist_dist.bench.child TASK FLAGS`.

Two strategies of different size don't work in one process, so start.py starts a process for each.
TASK is JSON; the output is one line of JSON. The process then stays until its standard input ends,
since a worker that ends while others still communicate would cause errors in them.
"""

from mnist_dist import exits

exits.begin(__name__)

import json
import sys
import threading

from mnist_dist import flags
from mnist_dist.bench.plan import Task
from mnist_dist.devices.startup_messages import one_dnn_has, without_startup_messages
from mnist_dist.run.command import answered


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code, if it failed."""
    watch = threading.Thread(target=_end_with_parent, daemon=True)
    watch.start()
    code = answered(lambda: _measure(argv))
    if not code:
        watch.join()
    return code


def _measure(argv: list[str]) -> int:
    workers, *rest = json.loads(argv[0])
    task = Task(tuple(workers), *rest)
    config = flags.parse(argv[1:])
    with without_startup_messages(one_dnn_has(config.precision)):
        import tensorflow as tf

        from mnist_dist.bench import level

        tf.config.list_physical_devices()  # the first call prints startup messages, too
    print(json.dumps(level.measure(config, task)), flush=True)
    return 0


def _end_with_parent() -> None:
    """Ends this process when its standard input ends: a collective would wait forever."""
    sys.stdin.read()
    exits.leave(0)


if __name__ == "__main__":
    exits.end(main)
