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
    from tests.process.training import bit_faults

    return bit_faults.main(fault, arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
