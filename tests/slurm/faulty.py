"""An interpreter whose trainers have a planted fault: `faulty.py FAULT ...`.

FAULT is that of tests/process/training/bit_faults.py, without blanks.
"""

import os
import sys


def main(fault, arguments):
    """Runs the interpreter's own `arguments`."""
    if arguments[:2] != ["-m", "mnist_dist.train"]:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    sys.path[0] = os.getcwd()
    from mnist_dist import exits
    from tests.process.training import bit_faults

    # As the trainer ends: at once, before another signal to stop can end it with another code.
    exits.end(lambda _: bit_faults.main(fault, arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
