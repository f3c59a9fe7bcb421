"""An interpreter whose trainers wait at given global steps: `hold.py FOLDER STEPS ...`.

STEPS are numbers with commas between them. When a trainer has done a block that reaches one of
them, it writes its process's number to FOLDER/held-JOB-STEP-RANK and waits for a signal to stop, or
for FOLDER/release-JOB-STEP; a later trainer of the same rank passes the step. JOB is SLURM's number
of the job, 0 without one. So a test can act at a known step, however slow the machine. Only the
main thread waits: heartbeats go on. tests/held.py is the test's side of it.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

LOOK_S = 0.02
LAUNCHERS = ("mnist_dist.local", "mnist_dist.launch.agent")
"""They start trainers with the interpreter that runs them."""


def main(folder, steps, arguments):
    """Runs the interpreter's own `arguments`."""
    words = arguments[1:] if arguments[:1] == ["-u"] else arguments
    if words[:1] != ["-m"] or words[1] not in ("mnist_dist.train", *LAUNCHERS):
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    sys.path[0] = os.getcwd()
    if words[1] in LAUNCHERS:
        sys.executable = f"{folder}/python"
    else:
        hold_at(Path(folder), [int(step) for step in steps.split(",")])
    sys.argv = words[1:]
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)


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
                hold(folder, f"{os.environ.get('SLURM_JOB_ID', '0')}-{step}", signals)

    def note(stop, number, frame):
        signals.append(number)
        handle(stop, number, frame)

    Console.begin, Console.advance, Stop._handle = begin_at, advance_and_hold, note


def hold(folder, name, signals):
    """Waits for a signal or the release, unless this rank has waited there before."""
    mark, release = folder / f"held-{name}-{rank()}", folder / f"release-{name}"
    if mark.exists():
        return
    mark.write_text(f"{os.getpid()}\n")
    while not signals and not release.exists():
        time.sleep(LOOK_S)


def rank():
    """This trainer's, from srun, ssh.sh or local.sh."""
    for name in ("SLURM_PROCID", "RANK"):
        if name in os.environ:
            return os.environ[name]
    return json.loads(os.environ["TF_CONFIG"])["task"]["index"]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
