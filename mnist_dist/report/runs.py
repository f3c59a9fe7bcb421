"""Finds run folders and reads what is in them: docs/files.md has the files' schemas."""

import dataclasses
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnist_dist.errors import UsageError

NUMBERS = (
    *("test_accuracy", "test_loss", "steps", "epochs", "train_seconds", "images_per_s"),
    *("num_replicas", "num_workers", "parameters"),
)
"""What a finished run's result.json must have, each a finite number."""


PARTS = 120
"""A training curve of more lines than that is drawn by the means of as many parts of it."""
NEIGHBOURS = 2
"""Parts on either side that are averaged with each, so that noise doesn't hide the course."""


class Predictions(NamedTuple):
    """A run's predictions.npz.

    Attributes:
        label: int32 [examples], of the test set in its order.
        prediction: int32 [examples].
        loss: float32 [examples], in nats.
        mistake_index: int64 [mistakes], examples predicted wrongly, the greatest loss first.
        mistake_image: uint8 [mistakes, height, width, channels].
    """

    label: np.ndarray
    prediction: np.ndarray
    loss: np.ndarray
    mistake_index: np.ndarray
    mistake_image: np.ndarray


@dataclasses.dataclass
class Run:
    """One run's files.

    Attributes:
        name: tells it from the others.
        folder: the run's --output_dir.
        result: result.json; empty where there is none that can be read.
        records: metrics.jsonl.
        times: float [lines, 2], global step and training time in seconds.
        predictions: predictions.npz, None where there is none that fits the result.
        unfinished: why the run doesn't count; empty where it does.
        notes: what isn't well with its files.
    """

    name: str
    folder: Path
    result: dict[str, Any]
    records: list[dict[str, Any]]
    times: np.ndarray
    predictions: Predictions | None
    unfinished: str
    notes: list[str]

    @property
    def config(self) -> dict[str, Any]:
        """The run's flags; empty where nothing tells them."""
        return self.result.get("config", {})

    @property
    def step(self) -> int:
        """The last global step that a file speaks of."""
        steps = [record["step"] for record in self.records]
        return max([int(self.result.get("steps", 0)), *steps])

    def curve(self, split: str) -> dict[str, np.ndarray]:
        """A split's lines as float arrays: step, loss, accuracy, seconds and, in training, lr."""
        lines = [record for record in self.records if record["split"] == split]
        names = ("step", "loss", "accuracy", *(("lr",) if split == "train" else ()))
        curve = {name: np.array([line[name] for line in lines], float) for name in names}
        steps, seconds = np.vstack([np.zeros((1, 2)), self.times]).T
        return {**curve, "seconds": np.interp(curve["step"], steps, seconds)}


def read(paths: Sequence[str]) -> list[Run]:
    """Reads all runs that the folders are or hold, in the order given, each once.

    Args:
        paths: runs' --output_dir, folders with one in output/, or folders of several of either.

    Raises:
        UsageError: a path without a run, with what is there instead.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        try:
            for folder in _expand(Path(path)):
                folders.setdefault(folder.resolve(), folder)
        except OSError as error:
            raise UsageError(f"{path}: can't be read ({error.strerror}); check it") from error
    names = _names(list(folders))
    return [_read(name, folder) for name, folder in zip(names, folders.values(), strict=True)]


def smooth(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A training curve in at most PARTS points: the mean x of each part, the mean y around it."""
    parts = min(PARTS, len(x))
    xs, ys = (np.array([p.mean() for p in np.array_split(a, parts)]) for a in (x, y))
    around = [ys[max(i - NEIGHBOURS, 0) : i + NEIGHBOURS + 1].mean() for i in range(parts)]
    return xs, np.array(around)


def _expand(path: Path) -> Iterator[Path]:
    cure = "give a run's --output_dir, or a folder that holds such folders"
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise UsageError(f"{path}: {what}; {cure}")
    below = sorted(child for child in path.iterdir() if child.is_dir())
    # Those are files of earlier runs, which a new one moved out of its way.
    below = [child for child in below if not child.name.startswith("previous-")]
    found = [run for folder in (path, *below) for run in _run_at(folder)]
    if not found:
        there = sorted(child.name for child in path.iterdir())
        listed = ", ".join(there[:5]) + (", ..." if there[5:] else "")
        raise UsageError(
            f"{path}: no result.json or metrics.jsonl there, in output/ or one folder down "
            f"(it has {listed or 'nothing'}); {cure}"
        )
    yield from found[:1] if found[0] in (path, path / "output") else found


def _run_at(folder: Path) -> list[Path]:
    places = (folder, folder / "output")
    files = ("result.json", "metrics.jsonl")
    return [place for place in places if any((place / name).is_file() for name in files)][:1]


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart, without a last output/."""
    bare = [folder.parent if folder.name == "output" else folder for folder in folders]
    if len(set(bare)) < len(bare):
        bare = list(folders)
    common = Path(os.path.commonpath([path.parent for path in bare]))
    return [str(path.relative_to(common)) for path in bare]


def _read(name: str, folder: Path) -> Run:
    notes: list[str] = []
    records = _lines(folder / "metrics.jsonl", notes)
    pairs = [(line["step"], line["seconds"]) for line in _lines(folder / "times.jsonl", notes)]
    times = np.array(pairs, float).reshape(-1, 2)
    result, unfinished = _result(folder / "result.json")
    predictions = None
    if not unfinished:
        predictions = _predictions(folder / "predictions.npz", result["test_accuracy"], notes)
    return Run(name, folder, result, records, times, predictions, unfinished, notes)


def _result(path: Path) -> tuple[dict[str, Any], str]:
    """result.json, and why the run doesn't count if so."""
    if not path.exists():
        return {}, "no result yet: still going, or killed"
    try:
        result = json.loads(path.read_text())
        config, stopped = result["config"], result["stopped"]
        if stopped == "preempted":
            return result, "stopped, to go on later"
        wrong = [name for name in NUMBERS if not _finite(result[name])]
        accuracies = [result["test_accuracy"], result["validation_accuracy"]]
        if not all(a is None or 0.0 <= a <= 1.0 for a in accuracies):
            wrong.append("accuracy within 0..1")
        if not isinstance(config["seed"], int) or not isinstance(config["optimizer"], str):
            wrong.append("config with seed and optimizer")
    except OSError as error:
        return {}, f"result.json can't be read ({error.strerror})"
    except (ValueError, KeyError, TypeError) as error:
        return {}, f"result.json is damaged ({type(error).__name__}: {error})"
    return ({}, f"result.json is damaged (no {wrong[0]})") if wrong else (result, "")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """A JSONL file's whole lines; those after one that can't be read are left out, and noted."""
    keys = {"metrics.jsonl": ("split", "loss", "accuracy"), "times.jsonl": ("seconds",)}[path.name]
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        notes.append(f"{path.name} can't be read ({error.strerror})")
        return []
    records: list[dict[str, Any]] = []
    # What follows the last newline is being written, or was when the run was killed.
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
            wanted = (*keys, "lr") if record.get("split") == "train" else keys
            bad = not all(_finite(record[key]) for key in ("step", *wanted) if key != "split")
        except (ValueError, KeyError, AttributeError):
            bad = True
        if bad:
            notes.append(f"{path.name} is damaged at line {number}; what follows is left out")
            break
        records.append(record)
    return records


def _predictions(path: Path, accuracy: float, notes: list[str]) -> Predictions | None:
    if not path.exists():
        return None
    try:
        with np.load(path) as arrays:
            found = Predictions(*(arrays[name] for name in Predictions._fields))
        classes = (found.label, found.prediction)
        if any(a.ndim != 1 or a.dtype.kind not in "iu" or a.min(initial=0) < 0 for a in classes):
            raise ValueError("classes must be whole numbers from 0")
        fits = math.isclose((found.label == found.prediction).mean(), accuracy, abs_tol=1e-9)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        notes.append(f"predictions.npz can't be read ({type(error).__name__})")
        return None
    if not fits:
        notes.append("predictions.npz isn't of the result beside it")
        return None
    return found
