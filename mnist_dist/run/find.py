"""Finds a run's checkpoints from any of its folders. No TensorFlow."""

from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.errors import UsageError, shorten
from mnist_dist.run import store
from mnist_dist.run.store import Saved

MOST_BYTES = 1 << 24  # of a result.json
NAMED = 5  # runs in a message
WANTED = "give a run's --run_dir, --checkpoint_dir or --output_dir"


class Found(NamedTuple):
    """A run's checkpoints.

    Attributes:
        folder: holds folders ckpt-STEP.
        step: the step that was asked for; None for the step with the reported scores.
        result: the run's result.json, if the folder was found by it; else empty.
    """

    folder: Path
    step: int | None
    result: dict[str, Any]

    @property
    def newest_step(self) -> int:
        """The step that was asked for, or that of the last checkpoint, whole or not."""
        return store.step_of(store.visible(self.folder)[-1]) if self.step is None else self.step


def find(run_dir: str) -> Found:
    """Finds a run's checkpoints.

    Args:
        run_dir: a --run_dir or another folder with checkpoints/ in it, a --checkpoint_dir, one of
            its ckpt-STEP, or an --output_dir, whose result.json says where its checkpoints are.

    Raises:
        UsageError: no run is there, or its checkpoints are gone.
    """
    path = Path(run_dir).expanduser()
    if not run_dir:  # which would be the current folder
        raise UsageError(f"an empty name of a run; {WANTED}")
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise UsageError(f"{run_dir}: {what}; {WANTED}")
    if path.resolve() in store.visible(path.resolve().parent):
        return Found(path.resolve().parent, store.step_of(path.resolve()), {})
    beside = (path.parent / "checkpoints",) if path.name == "output" else ()
    for folder in (path, path / "checkpoints", *beside):
        if store.visible(folder):
            return Found(folder, None, {})
    for output in (path, path / "output"):
        if (output / "result.json").is_file():
            return _named_by(output / "result.json")
    runs = [str(child) for child in sorted(path.iterdir()) if _holds_run(child)]
    if runs:
        raise UsageError(
            f"{run_dir}: a folder of {len(runs)} run(s); give one of them: "
            f"{', '.join(map(shorten, runs[:NAMED]))}{', ...' if runs[NAMED:] else ''}"
        )
    raise UsageError(
        f"{run_dir}: no run is there: neither checkpoints (ckpt-STEP, or checkpoints/ckpt-STEP) "
        f"nor a result.json that names them; {WANTED}"
    )


def scored(found: Found) -> Saved:
    """The checkpoint that the reported scores belong to: the best with --patience, else the newest.

    Raises:
        UsageError: it is damaged, of another version, or may not be read.
    """
    saved = _whole(found, found.newest_step)
    best = saved.state.get("best_step")
    if found.step is None and best not in (None, saved.step):
        saved = _whole(found, best)
    return saved


def _whole(found: Found, step: int) -> Saved:
    """The checkpoint of a step; never an older one in its place, which has other weights."""
    saved, damaged = store.newest(found.folder, step)
    if saved is None:
        missing = {found.folder / f"ckpt-{step}": "it isn't there"}
        path, reason = next(iter((damaged or missing).items()))
        paths = reversed(store.visible(found.folder))
        others = [other.name for other in paths if store.step_of(other) != step]
        way = f"give one of the others: {', '.join(others)}" if others else "train again"
        raise UsageError(f"{path}: {reason}; {way}")
    return saved


def _holds_run(folder: Path) -> bool:
    try:
        return bool(
            store.visible(folder)
            or store.visible(folder / "checkpoints")
            or any((output / "result.json").is_file() for output in (folder, folder / "output"))
        )
    except (OSError, UsageError):  # another user's folder
        return False


def _named_by(path: Path) -> Found:
    """The checkpoints that a result.json names."""
    try:
        result = bounded.loads(bounded.read_text(path, MOST_BYTES))
        folder = Path(result["config"]["checkpoint_dir"])
        there = store.visible(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: can't be read ({reason}); give --checkpoint_dir") from error
    if not there:
        raise UsageError(
            f"{path} names {folder}, and no checkpoint is there; give the folder that has them"
        )
    return Found(folder, None, result)
