"""A run's files: metrics.jsonl, times.jsonl, TensorBoard's event files and result.json.

metrics.jsonl has the numbers that the flags determine, times.jsonl those of the machine. So
metrics.jsonl of two runs with the same flags can be compared line by line. docs/files.md has the
schemas.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.run import pictures, tensorboard, truncation
from mnist_dist.run.atomic import replace, replacing
from mnist_dist.run.folders import clear, writing
from mnist_dist.run.frames import frame
from mnist_dist.run.logs import Log, Written

METRICS = "metrics.jsonl"
TIMES = "times.jsonl"
RESULT = "result.json"
PREDICTIONS = "predictions.npz"
DIGEST_FORMAT = 1
DIGESTS = "digests.jsonl"
LINES = (METRICS, TIMES, DIGESTS)


class Events:
    """Writes a run's files under one folder; without a folder it writes nothing.

    Every method that writes raises RunError if the disk is full or gone.

    Attributes:
        folder: --output_dir on the chief; None for no files.
        history: the rows of metrics.jsonl, in order; without a folder, those of this attempt.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder) if folder else None
        self._logs: dict[str, Log] = {}
        self._kept: dict[str, int] = {}
        self._before: tuple[int, dict[str, Any]] = (0, {})
        self.history: list[dict[str, Any]] = []

    def clear(self) -> None:
        """Deletes what a killed run left half-written."""
        if self.folder:
            clear(self.folder, [f".{name}*" for name in (*LINES, RESULT, PREDICTIONS)])
            for name in tensorboard.FOLDERS.values():
                clear(self.folder / name, [".events.*"])

    def earlier(self) -> list[Path]:
        """The files of an earlier run, which a new run would overwrite."""
        if not self.folder:
            return []
        names = (*LINES, RESULT, PREDICTIONS, *tensorboard.SUBFOLDERS)
        old = [self.folder / name for name in names if (self.folder / name).exists()]
        return old + sorted(self.folder.glob("events.*"))

    def begin(self, flags: Mapping[str, Any], graph: Callable[[], tf.Graph]) -> None:
        """Starts a new run's files with what TensorBoard shows of it.

        Args:
            flags: those that determine the numbers.
            graph: builds the network's graph.
        """
        if self.folder:
            self._event(tensorboard.FOLDERS["train"], tensorboard.flags(flags))
            self._event(tensorboard.FOLDERS["train"], tensorboard.network(graph()))

    def finished(self) -> None:
        """Reads the history of a run that has ended; its files stay as they are."""
        if self.folder:
            self.history = truncation.readable(self.folder / METRICS)

    def resume(self, step: int, epoch_ended: bool, written: Mapping[str, Any]) -> str:
        """Truncates the files to the checkpoint's step; later steps will be done again.

        Args:
            step: the checkpoint's global step.
            epoch_ended: whether an evaluation after this step is kept. The evaluation of a run
                that was stopped in mid-epoch isn't, since an uninterrupted run has none there.
            written: what `written` returned when the checkpoint was saved.

        Returns:
            Which records of earlier steps are lost, in a few words; empty if none are.
        """
        if not self.folder:
            return ""
        last_scored = step if epoch_ended else step - 1

        def kept(record: dict[str, Any]) -> bool:
            scored = record.get("split", "train") != "train"
            return bool(0 < record["step"] <= (last_scored if scored else step))

        with writing(self.folder / RESULT):  # it is of the attempt that was stopped
            (self.folder / RESULT).unlink(missing_ok=True)
        lost = []
        for name in LINES:
            known = Written(**written[name]) if name in written else None
            if name == DIGESTS and not known and not (self.folder / name).exists():
                continue  # a run without --digest_every_steps
            rest = truncation.lines(self.folder / name, known, kept)
            self._logs[name] = Log(self.folder / name, len(rest.records), rest.contents)
            if name == METRICS:
                self.history = rest.records
            if known and rest.changed:
                lines = f"{rest.lost} of {known.records} lines of {name}"
                lost.append(lines if rest.lost else f"{name} as it was (it was changed)")
        for split, name in tensorboard.FOLDERS.items():
            paths = sorted((self.folder / name).glob("events.*"))
            last = step if split == "train" else last_scored
            self._kept[name] = sum(truncation.events(path, last) for path in paths)
            records = written.get(name, {"records": 0})["records"]
            if self._kept[name] < records:
                missing = records - self._kept[name]
                lost.append(f"{missing} of {records} records of TensorBoard's {split} curves")
        return ", ".join(lost)

    def train(self, step: int, epoch: int, loss: float, accuracy: float, lr: float) -> None:
        """Writes one training step's line. `step` and `epoch` count from 1."""
        values = {"loss": loss, "accuracy": accuracy, "lr": lr}
        self._metrics({"step": step, "epoch": epoch, "split": "train", **values})

    def digests(self, step: int, gradient: Mapping[str, str], weights: Mapping[str, str]) -> None:
        """Writes the digests after `step` global steps.

        Args:
            step: counts from 1.
            gradient: layer -> digest of the gradient that this step applied.
            weights: layer -> digest of the weights after it.
        """
        record = {"step": step, "format": DIGEST_FORMAT, "gradient": dict(gradient)}
        self._line(DIGESTS, {**record, "weights": dict(weights)})

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """Writes training scalars for TensorBoard only, after `step` global steps."""
        self._event(tensorboard.FOLDERS["train"], tensorboard.scalars(step, values))

    def evaluation(self, step: int, epoch: int, split: str, loss: float, accuracy: float) -> None:
        """Writes the scores on the "validation" or "test" split after `step` global steps."""
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
        names: Sequence[str],
        worst: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """Writes the test split's confusion matrix and worst mistakes for TensorBoard.

        Args:
            step: global steps done.
            labels: int32 [examples].
            predictions: int32 [examples].
            names: of the classes, in order.
            worst: the mistakes' indices, int64 [mistakes]; their images, uint8
                [mistakes, height, width, channels]; their losses, float64 [mistakes].
        """
        if not self.folder:
            return
        index, images, losses = worst
        matrix = pictures.confusion(labels, predictions, names)
        table = pictures.mistakes(images, labels[index], predictions[index], losses, names)
        for name, pixels in (("confusion_matrix", matrix), ("worst_mistakes", table)):
            self._event(tensorboard.FOLDERS["test"], tensorboard.image(step, name, pixels))

    def times(self, step: int, seconds: float) -> None:
        """Writes the training time so far, in seconds, without evaluations and start-up."""
        self._line(TIMES, {"step": step, "seconds": seconds})

    def flush(self) -> None:
        """Hands all buffered lines to the operating system."""
        for log in self._logs.values():
            log.flush()

    def sync(self) -> None:
        """Syncs flushed lines to the disk, before a checkpoint refers to them."""
        for log in list(self._logs.values()):
            log.sync()

    def written(self, step: int, epoch_ended: bool) -> dict[str, Any]:
        """The contents up to global step `step` that a resumed run will keep: see `resume`.

        Returns:
            File -> number of records; for JSONL files also their size and checksum.
        """
        dropped = self._before[0] == step and not epoch_ended  # the evaluation of this step
        return self._before[1] if dropped else self._written()

    @property
    def incomplete(self) -> bool:
        """Whether result.json is missing; False without a folder."""
        return self.folder is not None and not (self.folder / RESULT).exists()

    def result(self, result: dict[str, Any]) -> None:
        """Writes result.json in one step."""
        if self.folder:
            text = json.dumps(result, indent=1, allow_nan=False) + "\n"
            with writing(self.folder / RESULT):
                replace(self.folder / RESULT, text.encode())

    def predictions(self, write: Callable[[Path], None]) -> None:
        """Writes predictions.npz in one step.

        Args:
            write: writes the file to the path that it is given.
        """
        if self.folder:
            path = self.folder / PREDICTIONS
            with writing(path), replacing(path) as draft:
                write(draft)

    def close(self) -> None:
        """Flushes, syncs and closes all files."""
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

    def _event(self, folder: str, record: bytes) -> None:
        if not self.folder:
            return
        if folder not in self._logs:
            stamp = f"{time.time_ns() // 10**9}.{time.time_ns() % 10**9:09d}"
            path = self.folder / folder / f"events.out.tfevents.{stamp}"
            self._logs[folder] = Log(path, self._kept.get(folder, 0))
            self._logs[folder].write(frame(tensorboard.version()), counts=False)
        self._logs[folder].write(frame(record))
