"""A run's files: metrics.jsonl, times.jsonl, TensorBoard's event files and result.json.

metrics.jsonl holds what the flags decide and times.jsonl what this machine made of it, so two
runs of the same flags can be compared line by line. docs/files.md has the schemas.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.run import pictures, rewind
from mnist_dist.run.folders import aside, writable
from mnist_dist.run.tensorboard import TensorBoard

METRICS = "metrics.jsonl"
TIMES = "times.jsonl"
RESULT = "result.json"
PREDICTIONS = "predictions.npz"


class Events:
    """Writes a run's files under one folder, for the chief; with none, writes nothing.

    Attributes:
        history: the rows of metrics.jsonl, in order; without a folder, of this attempt.

    Raises:
        UsageError: the folder can't be written in.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._board = TensorBoard(self._folder) if self._folder else None
        self._open: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        if self._folder:
            writable(self._folder, "--output_dir")

    def begin(self, flags: Mapping[str, Any], graph: Callable[[], tf.Graph]) -> Path | None:
        """Moves an earlier run's files out of the way; says where to.

        Args:
            flags: what decides the numbers, to be shown.
            graph: gives the network's, to be shown.
        """
        if not self._folder or not self._board:
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        names = (METRICS, TIMES, RESULT, PREDICTIONS)
        old = [self._folder / name for name in names if (self._folder / name).exists()]
        old += self._board.there()
        moved = aside(self._folder, old) if old else None
        self._board.head(flags, graph())
        return moved

    def finished(self) -> None:
        """Leaves everything as it is: the history is that of the run that has ended."""
        if self._folder and (self._folder / METRICS).exists():
            text = (self._folder / METRICS).read_text()
            self.history = [json.loads(line) for line in text.splitlines()]

    def resume(self, step: int, epoch_ended: bool) -> None:
        """Takes back what was written of steps after `step`, which will be done again.

        Args:
            step: global steps that the checkpoint has.
            epoch_ended: whether an evaluation belongs there; one of a run that was stopped in
                mid-epoch is no part of the run never stopped.
        """
        if not self._folder or not self._board:
            return
        self._folder.mkdir(parents=True, exist_ok=True)

        def kept(record: dict[str, Any]) -> bool:
            ended = epoch_ended or record.get("split", "train") == "train"
            return record["step"] < step or (record["step"] == step and ended)

        (self._folder / RESULT).unlink(missing_ok=True)  # of the attempt that was stopped
        self.history = rewind.lines(self._folder / METRICS, kept)
        rewind.lines(self._folder / TIMES, kept)
        self._board.resume(step, epoch_ended)

    def train(self, step: int, epoch: int, loss: float, accuracy: float, lr: float) -> None:
        """One training step's line. `step` counts from 1, `epoch` too."""
        values = {"loss": loss, "accuracy": accuracy, "lr": lr}
        self._metrics({"step": step, "epoch": epoch, "split": "train", **values})

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of training for TensorBoard alone, after `step` global steps."""
        if self._board:
            self._board.scalars("train", step, values)

    def evaluation(self, step: int, epoch: int, split: str, loss: float, accuracy: float) -> None:
        """A pass over the "validation" or "test" split, after `step` global steps."""
        values = {"loss": loss, "accuracy": accuracy}
        self._metrics({"step": step, "epoch": epoch, "split": split, **values})
        if self._board:
            self._board.scalars(split, step, values)

    def pictures(
        self,
        step: int,
        labels: np.ndarray,
        predictions: np.ndarray,
        num_classes: int,
        worst: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """The test split's confusion matrix and worst mistakes for TensorBoard.

        Args:
            step: global steps done.
            labels: int32 [examples].
            predictions: int32 [examples].
            num_classes: how many there are.
            worst: int64 [mistakes], which examples; uint8 [mistakes, height, width, channels].
        """
        if self._board:
            index, images = worst
            matrix = pictures.confusion(labels, predictions, num_classes)
            table = pictures.mistakes(images, labels[index], predictions[index])
            self._board.image("test", step, "confusion_matrix", matrix)
            self._board.image("test", step, "worst_mistakes", table)

    def times(self, step: int, seconds: float) -> None:
        """The training time so far, in seconds, evaluations and start-up not counted."""
        self._line(TIMES, {"step": step, "seconds": seconds})

    def flush(self) -> None:
        """Brings all lines to the disk; before a checkpoint that counts on them."""
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
        if self._board:
            self._board.flush()

    @property
    def incomplete(self) -> bool:
        """Whether result.json is wanted and isn't there."""
        return self._folder is not None and not (self._folder / RESULT).exists()

    def result(self, result: dict[str, Any]) -> None:
        """Writes result.json, whole or not at all."""
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(result, indent=1, allow_nan=False) + "\n"
            rewind.replace(self._folder / RESULT, text.encode())

    def predictions(self, write: Callable[[Path], None]) -> None:
        """Has `write` make predictions.npz, whole or not at all."""
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._folder / f".{PREDICTIONS}"
            write(new)
            os.replace(new, self._folder / PREDICTIONS)

    def close(self) -> None:
        """Closes all files."""
        self.flush()
        for file in self._open.values():
            file.close()
        self._open = {}
        if self._board:
            self._board.close()

    def _metrics(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        self._line(METRICS, row)

    def _line(self, name: str, record: dict[str, Any]) -> None:
        if not self._folder:
            return
        if name not in self._open:
            self._open[name] = (self._folder / name).open("a")
        self._open[name].write(json.dumps(record) + "\n")
