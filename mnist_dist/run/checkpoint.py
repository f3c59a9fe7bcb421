"""Saves a run's variables in the background, and restores them.

A save copies the variables and returns; a thread writes the copy while training continues.
`publishing` has the format on the disk.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run import publishing, store
from mnist_dist.run.folders import clear, writing
from mnist_dist.run.store import Saved


class Checkpoints:
    """The checkpoints of a run; the folder is made by the first save.

    Attributes:
        folder: --checkpoint_dir.
        variables: name -> variable, everything that is saved.
        chief: whether this worker writes.
        took_s: seconds from the start of the last save until it was visible; 0 before the first.
    """

    def __init__(  # noqa: PLR0913
        self,
        folder: str,
        variables: dict[str, tf.Variable],
        keep: int,
        chief: bool,
        check_lock: Callable[[], None] = lambda: None,
        old_names: Mapping[str, str] | None = None,
    ) -> None:
        """All workers restore, only the chief writes.

        Args:
            folder: --checkpoint_dir.
            variables: name -> variable; the same names on any topology.
            keep: how many of the newest checkpoints stay.
            chief: whether this worker writes.
            check_lock: raises RunError if another run has taken the folder.
            old_names: name -> its name in older checkpoints, which are restored too.
        """
        self._old_names = old_names or {}
        self.variables = variables
        self.folder = Path(folder)
        self._keep = keep
        self.chief = chief
        self._check_lock = check_lock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="save")
        self._saving: Future[None] | None = None
        self._begun_s = monotonic()
        self.took_s = 0.0

    def clear(self) -> None:
        """Deletes what a killed run left half-written or half-deleted."""
        if self.chief:
            publishing.clear(self.folder)
            clear(self.folder, [])

    def prune(self) -> None:
        """Deletes old checkpoints that a run left because it was killed between save and deletion.

        Raises:
            RunError: they can't be deleted.
        """
        if self.chief:
            with writing(self.folder):
                publishing.prune(self.folder, self._keep)

    def save(
        self, step: int, state: dict[str, Any], sync: Callable[[], None] = lambda: None
    ) -> None:
        """Copies all variables and starts a save of them; then old checkpoints are pruned.

        Args:
            step: global steps done.
            state: everything else that a resumed run needs, as JSON.
            sync: called by the thread first; brings to the disk what the checkpoint refers to.

        Raises:
            RunError: the previous save failed.
        """
        self._begun_s = monotonic()
        if not self.chief:
            return
        self.wait()
        copies = {name: np.array(variable.numpy()) for name, variable in self.variables.items()}
        self._saving = self._thread.submit(self._write, step, state, copies, sync)

    def age_s(self) -> float:
        """Seconds since the last save began; before the first, since the run began."""
        return monotonic() - self._begun_s

    def poll(self) -> None:
        """Raises RunError if the last save has failed; doesn't wait for one in progress."""
        if self._saving is not None and self._saving.done():
            self.wait()

    def wait(self) -> None:
        """Returns when the last save is on the disk and visible.

        Raises:
            RunError: it failed, since the disk is full or gone. Earlier checkpoints are untouched.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def close(self) -> None:
        """Waits for a save in progress; ignores its failure."""
        self._thread.shutdown(wait=True)

    def restore(self, saved: Saved) -> None:
        """Sets all variables to their saved values.

        Raises:
            UsageError: the checkpoint has other variables, or other shapes.
        """
        prefix = str(saved.path / "weights")
        shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        saved_shapes = {name: shapes[key] for name, key in _keys(shapes).items()}
        is_old = not saved_shapes.keys().isdisjoint(self._old_names.values())
        names = self._old_names if is_old else {}
        variables = {names.get(name, name): v for name, v in self.variables.items()}
        own_shapes = {name: list(v.shape) for name, v in variables.items()}
        if saved_shapes != own_shapes:
            every = {*saved_shapes, *own_shapes}
            first = min(n for n in every if saved_shapes.get(n) != own_shapes.get(n))
            raise UsageError(
                f"{saved.path} is of another model: {first} is "
                f"{saved_shapes.get(first, 'not')} there and {own_shapes.get(first, 'not')} here; "
                "give its flags, another --checkpoint_dir, or --resume=never"
            )
        tf.train.Checkpoint(variables=variables).read(prefix).assert_consumed()

    def at(self, step: int) -> Saved:
        """The checkpoint of a global step.

        Raises:
            RunError: there is none, or it is damaged.
        """
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
        sync: Callable[[], None],
    ) -> None:
        begun_s = monotonic()
        try:
            sync()
            self._check_lock()
            publishing.publish(
                self.folder, step, state, lambda place: _write_weights(place, copies)
            )
            self.took_s = monotonic() - begun_s
            publishing.prune(self.folder, self._keep)
        except (OSError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())
            target = self.folder / f"ckpt-{step}"
            raise RunError(f"step {step}: could not save {target}: {reason}") from error


def arrays(saved: Saved) -> dict[str, np.ndarray]:
    """A checkpoint's variables, name -> array, whatever network they belong to."""
    reader = tf.train.load_checkpoint(str(saved.path / "weights"))
    keys = _keys(reader.get_variable_to_shape_map())
    return {name: reader.get_tensor(key) for name, key in sorted(keys.items())}


def _keys(keys: Iterable[str]) -> dict[str, str]:
    """The name of each variable -> TensorFlow's key, in which a dot escapes dots and slashes."""
    unescaped = {".S": "/", "..": "."}
    return {
        re.sub(r"\.[S.]", lambda found: unescaped[found[0]], key.split("/")[1]): key
        for key in keys
        if key.startswith("variables/")
    }


def _write_weights(place: Path, copies: dict[str, np.ndarray]) -> None:
    with tf.device("CPU:0"):
        variables = {name: tf.Variable(copy, trainable=False) for name, copy in copies.items()}
        tf.train.Checkpoint(variables=variables).write(str(place / "weights"))
