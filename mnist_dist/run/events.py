"""A run's files: metrics.jsonl, times.jsonl, TensorBoard's event files and result.json.

metrics.jsonl holds what the flags decide and times.jsonl what this machine made of it, so two
runs of the same flags can be compared line by line. docs/files.md has the schemas.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.run import pictures, tensorboard, truncation
from mnist_dist.run.folders import clear, writing
from mnist_dist.run.frames import frame
from mnist_dist.run.logs import Log, Written
from mnist_dist.run.store import to_disk

METRICS = "metrics.jsonl"
TIMES = "times.jsonl"
RESULT = "result.json"
PREDICTIONS = "predictions.npz"
LINES = (METRICS, TIMES)
CURVES = tuple(tensorboard.FOLDERS.values())


class Events:
    """Writes a run's files under one folder, for the chief; with none, writes nothing.

    All of it raises RunError where the disk is full or gone.

    Attributes:
        folder: where they are; None for no files.
        history: the rows of metrics.jsonl, in order; without a folder, of this attempt.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder) if folder else None
        self._logs: dict[str, Log] = {}
        self._kept: dict[str, int] = {}
        self._before: tuple[int, dict[str, Any]] = (0, {})
        self.history: list[dict[str, Any]] = []

    def claim(self) -> None:
        """Clears what a killed run left half-written."""
        if self.folder:
            clear(self.folder, [f".{name}*" for name in (*LINES, RESULT, PREDICTIONS)])
            for name in CURVES:
                clear(self.folder / name, [".events.*"])

    def earlier(self) -> list[Path]:
        """An earlier run's files, which a new one would write over."""
        if not self.folder:
            return []
        names = (*LINES, RESULT, PREDICTIONS, *CURVES)
        old = [self.folder / name for name in names if (self.folder / name).exists()]
        return old + sorted(self.folder.glob("events.*"))

    def begin(self, flags: Mapping[str, Any], graph: Callable[[], tf.Graph]) -> None:
        """Begins a new run's files.

        Args:
            flags: what decides the numbers, to be shown.
            graph: gives the network's, to be shown.
        """
        if self.folder:
            self._event(tensorboard.ROOT, tensorboard.flags(flags))
            self._event(tensorboard.ROOT, tensorboard.network(graph()))

    def finished(self) -> None:
        """Leaves everything as it is: the history is that of the run that has ended."""
        if self.folder:
            self.history = truncation.readable(self.folder / METRICS)

    def resume(self, step: int, epoch_ended: bool, then: Mapping[str, Any]) -> str:
        """Takes back what was written of steps after `step`, which will be done again.

        Args:
            step: global steps that the checkpoint has.
            epoch_ended: whether an evaluation belongs there; one of a run that was stopped in
                mid-epoch is no part of the run never stopped.
            then: what `written` returned when the checkpoint was saved.

        Returns:
            What of the earlier steps is lost, in a few words; empty if nothing is.
        """
        if not self.folder:
            return ""
        last_scored = step if epoch_ended else step - 1

        def kept(record: dict[str, Any]) -> bool:
            scored = record.get("split", "train") != "train"
            return bool(0 < record["step"] <= (last_scored if scored else step))

        with writing(self.folder / RESULT):  # of the attempt that was stopped
            (self.folder / RESULT).unlink(missing_ok=True)
        lost = []
        for name in LINES:
            known = Written(**then[name]) if name in then else None
            rest = truncation.lines(self.folder / name, known, kept)
            self._logs[name] = Log(self.folder / name, len(rest.records), rest.contents)
            if name == METRICS:
                self.history = rest.records
            if known and rest.changed:
                lines = f"{rest.lost} of {known.records} lines of {name}"
                lost.append(lines if rest.lost else f"{name} as it was (it was changed)")
        for name in CURVES:
            paths = sorted((self.folder / name).glob("events.*"))
            last = step if name == "train" else last_scored
            self._kept[name] = sum(truncation.events(path, last) for path in paths)
            there = then.get(name, {"records": 0})["records"]
            if self._kept[name] < there:
                lost.append(f"{there - self._kept[name]} of {there} records of {name}/")
        return ", ".join(lost)

    def train(self, step: int, epoch: int, loss: float, accuracy: float, lr: float) -> None:
        """One training step's line. `step` counts from 1, `epoch` too."""
        values = {"loss": loss, "accuracy": accuracy, "lr": lr}
        self._metrics({"step": step, "epoch": epoch, "split": "train", **values})

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of training for TensorBoard alone, after `step` global steps."""
        self._event(tensorboard.FOLDERS["train"], tensorboard.scalars(step, values))

    def evaluation(self, step: int, epoch: int, split: str, loss: float, accuracy: float) -> None:
        """A pass over the "validation" or "test" split, after `step` global steps."""
        if self._before[0] != step:
            self._before = step, self._written()
        values = {"loss": loss, "accuracy": accuracy}
        self._metrics({"step": step, "epoch": epoch, "split": split, **values})
        self._event(tensorboard.FOLDERS[split], tensorboard.scalars(step, values))

    def pictures(
        self,
        step: int,
        labels: np.ndarray,
        predictions: np.ndarray,
        num_classes: int,
        worst: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """The test split's confusion matrix and worst mistakes for TensorBoard.

        Args:
            step: global steps done.
            labels: int32 [examples].
            predictions: int32 [examples].
            num_classes: how many there are.
            worst: the mistakes' indices, int64 [mistakes]; their images, uint8
                [mistakes, height, width, channels]; their losses, float64 [mistakes].
        """
        if not self.folder:
            return
        index, images, losses = worst
        matrix = pictures.confusion(labels, predictions, num_classes)
        table = pictures.mistakes(images, labels[index], predictions[index], losses)
        for name, pixels in (("confusion_matrix", matrix), ("worst_mistakes", table)):
            self._event(tensorboard.FOLDERS["test"], tensorboard.image(step, name, pixels))

    def times(self, step: int, seconds: float) -> None:
        """The training time so far, in seconds, evaluations and start-up not counted."""
        self._line(TIMES, {"step": step, "seconds": seconds})

    def flush(self) -> None:
        """Hands all lines to the operating system."""
        for log in self._logs.values():
            log.flush()

    def sync(self) -> None:
        """Brings to the disk what was flushed; before a checkpoint that counts on it."""
        for log in list(self._logs.values()):
            log.sync()

    def written(self, step: int, epoch_ended: bool) -> dict[str, Any]:
        """What the files hold up to global step `step` that a resumed run will keep: see `resume`.

        File -> number of records; of those of lines, their size and checksum, too.
        """
        taken_back = self._before[0] == step and not epoch_ended
        return self._before[1] if taken_back else self._written()

    @property
    def incomplete(self) -> bool:
        """Whether result.json is wanted and isn't there."""
        return self.folder is not None and not (self.folder / RESULT).exists()

    def result(self, result: dict[str, Any]) -> None:
        """Writes result.json, whole or not at all."""
        if self.folder:
            text = json.dumps(result, indent=1, allow_nan=False) + "\n"
            truncation.replace(self.folder / RESULT, text.encode())

    def predictions(self, write: Callable[[Path], None]) -> None:
        """Has `write` make predictions.npz, whole or not at all."""
        if self.folder:
            new = self.folder / f".{PREDICTIONS}"
            with writing(self.folder / PREDICTIONS):
                write(new)
                to_disk(new)
                os.replace(new, self.folder / PREDICTIONS)

    def close(self) -> None:
        """Brings all to the disk and closes the files."""
        self.flush()
        self.sync()
        for log in self._logs.values():
            log.close()
        self._logs = {}

    def _written(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: {"records": there} for name, there in self._kept.items()}
        for name, log in self._logs.items():
            now = log.written()
            found[name] = now._asdict() if name in LINES else {"records": now.records}
        return found

    def _metrics(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        self._line(METRICS, row)

    def _line(self, name: str, record: dict[str, Any]) -> None:
        if not self.folder:
            return
        if name not in self._logs:
            self._logs[name] = Log(self.folder / name)
        self._logs[name].write((json.dumps(record) + "\n").encode())

    def _event(self, part: str, record: bytes) -> None:
        if not self.folder:
            return
        if part not in self._logs:
            stamp = f"{time.time_ns() // 10**9}.{time.time_ns() % 10**9:09d}"
            path = self.folder / part / f"events.out.tfevents.{stamp}"
            self._logs[part] = Log(path, self._kept.get(part, 0))
            self._logs[part].write(frame(tensorboard.head()), counts=False)
        self._logs[part].write(frame(record))
