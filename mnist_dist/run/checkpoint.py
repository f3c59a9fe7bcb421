"""What is saved, when it counts as saved, and what is restored.

A checkpoint is a folder ckpt-STEP. It is written beside its place under a hidden name, its files'
checksums last, brought to the disk, and made visible by one rename: what can be seen is whole, or
was damaged later, which its checksums show.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run.folders import aside, writable

FORMAT = 1
STATE_FILE = "state.json"


class Saved(NamedTuple):
    """A whole checkpoint.

    Attributes:
        path: its folder.
        step: global steps that had been done.
        state: what `Checkpoints.save` was given.
    """

    path: Path
    step: int
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in one folder, which is made when the first is saved.

    Attributes:
        folder: --checkpoint_dir.
        variables: name -> variable, what is saved.
    """

    def __init__(
        self, folder: str, variables: dict[str, tf.Variable], keep: int, chief: bool
    ) -> None:
        """All workers restore, the chief alone writes.

        Args:
            folder: --checkpoint_dir.
            variables: name -> variable, the same on any topology.
            keep: how many of the newest stay.
            chief: whether this worker writes.
        """
        self.variables = variables
        self.folder = Path(folder)
        self._checkpoint = tf.train.Checkpoint(variables=variables)
        self._keep = keep
        self._chief = chief

    def claim(self) -> None:
        """Sees that the folder can be written in, and clears what a killed run left half-written.

        Raises:
            UsageError: it can't be written in.
        """
        if not self._chief:
            return
        writable(self.folder, "--checkpoint_dir")
        for litter in self.folder.glob(".ckpt-*"):
            shutil.rmtree(litter, ignore_errors=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Saves all variables and `state` (JSON) as of global step `step`.

        The newest `keep` checkpoints stay, and those whose step a kept one names as its best.

        Raises:
            RunError: the disk is full or gone; what was saved before is untouched.
        """
        if not self._chief:
            return
        target = self.folder / f"ckpt-{step}"
        hidden = self.folder / f".ckpt-{step}-{os.getpid()}"
        try:
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir(parents=True)
            self._checkpoint.write(str(hidden / "weights"))
            sums = {path.name: _checksum(path) for path in sorted(hidden.iterdir())}
            record = {"format": FORMAT, "step": step, "sha256": sums, "state": state}
            (hidden / STATE_FILE).write_text(json.dumps(record, indent=1))
            for path in [*hidden.iterdir(), hidden]:
                _to_disk(path)
            if target.exists():  # a damaged one, or of a resume that ended where it began
                target.rename(self.folder / f".ckpt-{step}-old-{os.getpid()}")
            hidden.rename(target)
            _to_disk(self.folder)
            self._prune()
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(hidden, ignore_errors=True)
            reason = " ".join(str(error).split())
            raise RunError(f"step {step}: could not save {target}: {reason}") from error

    def newest(self) -> tuple[Saved | None, dict[Path, str]]:
        """The newest whole checkpoint, and each newer one that isn't whole with the reason."""
        damaged: dict[Path, str] = {}
        for path in reversed(self.visible()):
            try:
                return read(path), damaged
            except ValueError as error:
                damaged[path] = str(error)
        return None, damaged

    def restore(self, saved: Saved) -> None:
        """Sets all variables to what was saved.

        Raises:
            UsageError: it was saved of another network or optimizer.
        """
        prefix = str(saved.path / "weights")
        shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        there = {
            key.split("/")[1].replace(".S", "/"): shape
            for key, shape in shapes.items()
            if key.startswith("variables/")
        }
        here = {name: list(v.shape) for name, v in self.variables.items()}
        if there != here:
            names = sorted(n for n in {*there, *here} if there.get(n) != here.get(n))
            raise UsageError(
                f"{saved.path} is of another model: {names[0]} is {there.get(names[0], 'not')} "
                f"there and {here.get(names[0], 'not')} here; give its flags, "
                "another --checkpoint_dir, or --resume=never"
            )
        self._checkpoint.read(prefix).assert_consumed()

    def set_aside(self, paths: list[Path]) -> Path | None:
        """Moves checkpoints out of the way, into a folder of their own; says where to."""
        return aside(self.folder, paths) if paths and self._chief else None

    def at(self, step: int) -> Saved:
        """The checkpoint of global step `step`. Raises RunError where it isn't whole."""
        try:
            return read(self.folder / f"ckpt-{step}")
        except ValueError as error:
            raise RunError(f"ckpt-{step} in {self.folder}, the best one, {error}") from error

    def visible(self) -> list[Path]:
        """All checkpoints, whole or not, the newest last."""
        try:  # not by glob, which fails where the folder goes while it looks
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        steps = [
            int(match[1]) for name in names if (match := re.fullmatch(r"ckpt-(0|[1-9]\d*)", name))
        ]
        return [self.folder / f"ckpt-{step}" for step in sorted(steps)]

    def _prune(self) -> None:
        visible = self.visible()
        kept = visible[-self._keep :]
        best = {f"ckpt-{_best_step(path)}" for path in kept}
        for path in visible:
            if path not in kept and path.name not in best:
                hidden = path.with_name(f".{path.name}-old-{os.getpid()}")
                path.rename(hidden)  # at once, so that none is ever seen half-deleted
        for litter in self.folder.glob(".ckpt-*-old-*"):
            shutil.rmtree(litter, ignore_errors=True)


def remembered(folder: str, name: str) -> Any:
    """What the newest whole checkpoint's identity says of `name`; None where there is none."""
    for path in reversed(Checkpoints(folder, {}, 1, chief=False).visible()):
        with contextlib.suppress(ValueError):
            return read(path).state["identity"].get(name)
    return None


def _best_step(path: Path) -> int | None:
    """The step that a checkpoint names as its best; None too where it was damaged meanwhile."""
    try:
        return json.loads((path / STATE_FILE).read_text())["state"].get("best_step")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read(path: Path) -> Saved:
    """A checkpoint's step and state, after its checksums.

    Raises:
        ValueError: it isn't whole.
        UsageError: it is of another format.
    """
    try:
        record = json.loads((path / STATE_FILE).read_text())
        sums, step, state = record["sha256"], record["step"], record["state"]
        torn = [name for name, digest in sums.items() if _checksum(path / name) != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not whole ({' '.join(str(error).split())})") from error
    if record.get("format") != FORMAT:
        raise UsageError(
            f"{path} is of format {record.get('format')}, this version reads {FORMAT}; use the "
            "version that wrote it, or another --checkpoint_dir"
        )
    if torn:
        raise ValueError(f"its file {torn[0]} is damaged (wrong checksum)")
    if path.name != f"ckpt-{step}":
        raise ValueError(f"it says that it is of step {step}")
    return Saved(path, step, state)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
