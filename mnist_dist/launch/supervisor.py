"""Starts a run's workers again on this machine until they are done: launch/local.sh."""

import sys
from collections.abc import Mapping
from pathlib import Path

from mnist_dist.launch.decision import Action, Situation, decide
from mnist_dist.launch.processes import Workers
from mnist_dist.run import store

HOST = "localhost"


def supervise(workers: Workers, number: int, checkpoints: Path, max_restarts: int) -> int:
    """Runs the workers, and again from the newest checkpoint as long as `decide` says so.

    Args:
        workers: of the run.
        number: of workers.
        checkpoints: the run's --checkpoint_dir.
        max_restarts: restarts in a row that may bring no newer checkpoint.

    Returns:
        The exit code of the last try: that of the first worker that failed, or 0.

    Raises:
        UsageError: a checkpoint has another format, or this user may not read it.
        OSError: a worker can't be started.
    """
    step, tries = _newest_step(checkpoints), 0
    losses: Mapping[str, int] = {}
    while True:
        code = workers.run()
        before, step = step, _newest_step(checkpoints)
        decided = decide(
            Situation(
                ends=workers.ends(HOST),
                hosts=(HOST,) * number,
                losses=losses,
                progress=step > before,
                tries=tries,
                max_restarts=max_restarts,
                stop_requested=workers.stop_requested,
            )
        )
        if decided.action is not Action.AGAIN:
            if decided.action is Action.GIVE_UP:
                _say(
                    f"{decided.reason}: not started again; the newest checkpoint is of step {step}"
                )
            return code
        tries, losses = decided.tries, decided.losses
        counted = f", try {tries} of {max_restarts} without progress" if tries else ""
        _say(f"{decided.reason}: starts again from step {step}{counted}")


def _newest_step(checkpoints: Path) -> int:
    """The global step of the newest whole checkpoint, 0 if there is none."""
    saved, _ = store.newest(checkpoints)
    return saved.step if saved else 0


def _say(text: str) -> None:
    print(f"local.sh: {text}", file=sys.stderr, flush=True)
