"""Restores a run's newest whole checkpoint, or begins a new run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mnist_dist.errors import UsageError
from mnist_dist.run import store
from mnist_dist.run.folders import move_aside
from mnist_dist.run.store import Saved
from mnist_dist.training.loop import Loop
from mnist_dist.training.progress import Progress
from mnist_dist.training.starting_weights import FLAG as INIT_FROM
from mnist_dist.training.starting_weights import IDENTITY as STARTING_WEIGHTS
from mnist_dist.training.weights_digest import digest

CommandFor = Callable[[Iterable[str]], str]
"""From the names of the flags in which two runs differ to a command that keeps both runs."""


def begin(
    loop: Loop,
    mode: str,
    agree: Callable[[str, Any], None],
    other_command: CommandFor,
    start: Callable[[], None] = lambda: None,
) -> Progress:
    """Restores the newest whole checkpoint, if there is one and --resume allows it.

    Args:
        loop: the run.
        mode: --resume: auto, never or must.
        agree: checks that all workers have the same value of what it is given.
        other_command: gives the command to suggest if the checkpoint is of another run.
        start: called if there is nothing to restore; may change the initial weights.

    Raises:
        UsageError: --resume=must without a checkpoint; a checkpoint of another model, other flags
            or other data.
        RunError: the workers don't see the same checkpoint.
    """
    checkpoints, console = loop.files.checkpoints, loop.files.console
    checkpoints.clear()
    loop.files.events.clear()
    saved, damaged = None, dict[Path, str]()
    if mode != "never":
        saved, damaged = store.newest(checkpoints.folder, check=_check_state)
    for path, reason in damaged.items():
        console.line(f"Skipped {path}: {reason}.")
    agree("the checkpoint to resume from", saved.step if saved else None)
    if saved is None:
        if mode == "must":
            raise UsageError(
                f"--resume=must: there is no whole checkpoint in {checkpoints.folder}; "
                "give the run's --checkpoint_dir, or --resume=auto"
            )
        old = [*store.visible(checkpoints.folder), *loop.files.events.earlier()]
        moved = _set_aside(loop, old)
        if moved:
            console.line(f"Begins anew: what was there is in {moved}.")
        start()
        shape = loop.data.train.images.shape[1:]
        flags = {"epochs": loop.plan.epochs, **loop.identity}
        loop.files.events.begin(flags, lambda: loop.steps.graph(shape))
        return Progress()
    progress = _restored(loop, saved, list(damaged), other_command)
    agree("the weights after restoring", digest(checkpoints.variables))
    return progress


def _restored(loop: Loop, saved: Saved, damaged: list[Path], other_command: CommandFor) -> Progress:
    then, now = saved.state["identity"], loop.identity
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if names:
        differences = "; ".join(
            f"{_said(name)}: {then.get(name)} then, {now.get(name)} now" for name in names
        )
        raise UsageError(
            f"{saved.path} is of a run with other flags or data ({differences}); give those, "
            "--resume=never to begin anew in its place, or keep both",
            other_command(INIT_FROM if name == STARTING_WEIGHTS else name for name in names),
        )
    progress = Progress.restored(saved.state)
    loop.files.checkpoints.restore(saved)
    ended = loop.plan.epoch_ended(progress.step)
    scored = ended or bool(progress.stopped)  # the evaluation comes before the save
    if progress.stopped == "patience" or (progress.step >= loop.plan.last_step and scored):
        progress.stopped = progress.stopped or "completed"
        if progress.step > loop.plan.last_step:
            loop.files.console.line(
                f"Nothing to train: {saved.path} has {progress.step} global steps, and the flags "
                f"ask for {loop.plan.last_step}. --resume=never begins anew."
            )
        loop.files.events.finished()
        if not damaged:
            loop.files.checkpoints.prune()
        return progress
    progress.stopped = ""  # it was finished, and now has a later end
    # Otherwise they would count among the newest, and would be tried first again.
    moved = _set_aside(loop, damaged)
    if moved:
        loop.files.console.line(f"What was skipped is in {moved}.")
    lost = loop.files.events.resume(progress.step, ended, saved.state["written"])
    loop.files.console.line(f"Goes on from {saved.path}, global step {progress.step}.")
    if lost:
        loop.files.console.line(
            f"Lost of the steps before, since it was saved: {lost}. A run is a function of its "
            "flags: the same ones with new folders give all of it again."
        )
    then, now = saved.state.get("arithmetic", loop.kernels), loop.kernels
    pairs = {name: (then.get(name, "off"), value) for name, value in now.items()}
    changed = [f"{name}: {a} then, {b} now" for name, (a, b) in pairs.items() if a != b]
    if changed:
        loop.files.console.line(f"The bits may differ from here on ({'; '.join(changed)}).")
    return progress


def _said(name: str) -> str:
    """An entry of the identity, in words that lead to its flag."""
    return f"weights of --{INIT_FROM}" if name == STARTING_WEIGHTS else name


def _check_state(saved: Saved) -> None:
    """Raises ValueError if a checkpoint's state isn't one of this program."""
    Progress.restored(saved.state)
    for name in ("identity", "written"):
        if not isinstance(saved.state.get(name), dict):
            raise ValueError(f"its state wasn't written by this program (no {name})")


def _set_aside(loop: Loop, paths: list[Path]) -> str:
    """Moves files aside, each into a new folder beside it; returns the new folders' names."""
    if not loop.files.checkpoints.chief:
        return ""
    folders = [loop.files.checkpoints.folder, loop.files.events.folder]
    by_folder = {folder: list[Path]() for folder in folders if folder}
    for path in paths:
        by_folder[path.parent].append(path)
    moved = [move_aside(folder, there) for folder, there in by_folder.items()]
    return " and ".join(str(place) for place in moved if place)
