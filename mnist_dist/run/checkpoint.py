"""Saves and restores a run's variables, beside the training: what is in `store` is what counts.

A save takes a copy of the variables and returns; a thread writes it, so that the loop goes on.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run import store
from mnist_dist.run.folders import clear, writing
from mnist_dist.run.store import Saved


class Checkpoints:
    """The checkpoints of one run in one folder, which is made when the first is saved.

    Attributes:
        folder: --checkpoint_dir.
        variables: name -> variable, what is saved.
        chief: whether this worker writes.
        took_s: seconds that the last save took till it counted; 0 before the first.
    """

    def __init__(
        self,
        folder: str,
        variables: dict[str, tf.Variable],
        keep: int,
        chief: bool,
        owned: Callable[[], None] = lambda: None,
    ) -> None:
        """All workers restore, the chief alone writes.

        Args:
            folder: --checkpoint_dir.
            variables: name -> variable, the same on any topology.
            keep: how many of the newest stay.
            chief: whether this worker writes.
            owned: raises RunError where the folder is another run's meanwhile.
        """
        self.variables = variables
        self.folder = Path(folder)
        self._keep = keep
        self.chief = chief
        self._owned = owned
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="save")
        self._saving: Future[None] | None = None
        self._begun_s = monotonic()
        self.took_s = 0.0

    def claim(self) -> None:
        """Clears what a killed run left half-written or half-deleted."""
        if self.chief:
            store.clear(self.folder)
            clear(self.folder, [])

    def prune(self) -> None:
        """Deletes all but those that are kept: a run that was killed after a save hadn't yet.

        Raises:
            RunError: it can't be done.
        """
        if self.chief:
            with writing(self.folder):
                store.prune(self.folder, self._keep)

    def save(
        self, step: int, state: dict[str, Any], before: Callable[[], None] = lambda: None
    ) -> None:
        """Has all variables and `state` (JSON) as of global step `step` saved by a thread.

        The newest checkpoints stay, and those whose step a kept one names as its best.

        Args:
            step: global steps done.
            state: what else is to be remembered.
            before: called by the thread first: what must be on the disk when this counts.

        Raises:
            RunError: the save before this one failed.
        """
        self._begun_s = monotonic()
        if not self.chief:
            return
        self.wait()
        copies = {name: np.array(variable.numpy()) for name, variable in self.variables.items()}
        self._saving = self._thread.submit(self._write, step, state, copies, before)

    def age_s(self) -> float:
        """Seconds since the last save began, or the run."""
        return monotonic() - self._begun_s

    def poll(self) -> None:
        """Raises RunError if the last save has failed; doesn't wait for it."""
        if self._saving is not None and self._saving.done():
            self.wait()

    def wait(self) -> None:
        """Returns when the last save counts.

        Raises:
            RunError: it failed: the disk is full or gone; what was saved before is untouched.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def close(self) -> None:
        """Lets a save that is under way end; whether it counts is no longer of interest."""
        self._thread.shutdown(wait=True)

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
        tf.train.Checkpoint(variables=self.variables).read(prefix).assert_consumed()

    def at(self, step: int) -> Saved:
        """The checkpoint of global step `step`. Raises RunError where none is whole."""
        saved, damaged = store.newest(self.folder, step)
        if saved is None:
            reason = next(iter(damaged.values()), "is gone")
            raise RunError(f"ckpt-{step} in {self.folder}, the best one, {reason}")
        return saved

    def _write(
        self,
        step: int,
        state: dict[str, Any],
        copies: dict[str, np.ndarray],
        before: Callable[[], None],
    ) -> None:
        begun_s = monotonic()
        try:
            before()
            self._owned()
            store.publish(self.folder, step, state, lambda place: _write_weights(place, copies))
            self.took_s = monotonic() - begun_s
            store.prune(self.folder, self._keep)
        except (OSError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())
            target = self.folder / f"ckpt-{step}"
            raise RunError(f"step {step}: could not save {target}: {reason}") from error


def _write_weights(place: Path, copies: dict[str, np.ndarray]) -> None:
    with tf.device("CPU:0"):
        variables = {name: tf.Variable(copy, trainable=False) for name, copy in copies.items()}
        tf.train.Checkpoint(variables=variables).write(str(place / "weights"))
