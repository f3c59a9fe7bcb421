"""An interpreter whose trainers wait at given global steps: `hold.py FOLDER STEPS ...`.

STEPS are numbers with commas between them. When a trainer has done a block that reaches one of
them, it writes its process's number to FOLDER/held-JOB-STEP-RANK and waits for a signal to stop, or
for FOLDER/release-JOB-STEP; a later trainer of the same rank passes the step. So a test can act at
a known step, however slow the machine. Only the main thread waits: heartbeats go on.
"""

import os
import runpy
import sys
import time
from pathlib import Path

LOOK_S = 0.02


def main(folder, steps, arguments):
    """Runs the interpreter's own `arguments`."""
    if arguments[:2] != ["-m", "mnist_dist.train"]:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    sys.path[0] = os.getcwd()
    hold_at(Path(folder), [int(step) for step in steps.split(",")])
    sys.argv = arguments[1:]
    runpy.run_module("mnist_dist.train", run_name="__main__", alter_sys=True)


def hold_at(folder, steps):
    """Makes this process's console, which hears of each block, wait at the steps."""
    from mnist_dist.run.console import Console
    from mnist_dist.training.stop import Stop

    begin, advance, handle = Console.begin, Console.advance, Stop._handle
    done, signals = 0, []

    def begin_at(console, pace):
        nonlocal done
        done = pace.step
        begin(console, pace)

    def advance_and_hold(console, number, loss):
        nonlocal done
        advance(console, number, loss)
        before, done = done, done + number
        for step in steps:
            if before < step <= done:
                hold(folder, f"{os.environ['SLURM_JOB_ID']}-{step}", signals)

    def note(stop, number, frame):
        signals.append(number)
        handle(stop, number, frame)

    Console.begin, Console.advance, Stop._handle = begin_at, advance_and_hold, note


def hold(folder, name, signals):
    """Waits for a signal or the release, unless this rank has waited there before."""
    mark, release = folder / f"held-{name}-{os.environ['SLURM_PROCID']}", folder / f"release-{name}"
    if mark.exists():
        return
    mark.write_text(f"{os.getpid()}\n")
    while not signals and not release.exists():
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
