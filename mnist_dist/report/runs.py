"""Finds run folders and reads their files; docs/files.md has the schemas."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_dist.errors import UsageError, shorten
from mnist_dist.report import files, results
from mnist_dist.report.files import Damaged
from mnist_dist.report.results import Predictions

SMOOTHED_FROM = 60
"""Training curves of fewer points aren't smoothed."""
PARTS = 120
"""Longer training curves are reduced to this many means."""
NEIGHBOURS = 2
"""Each mean is averaged with this many on either side."""


@dataclasses.dataclass
class Run:
    """One run's files.

    Attributes:
        name: unique among the runs.
        folder: the run's --run_dir or --output_dir, or that of its checkpoints.
        result: result.json; empty where there is none that can be read.
        records: metrics.jsonl.
        times: float [lines, 2], global step and training time in seconds.
        predictions: predictions.npz, None where there is none that fits the result.
        unfinished: why the run doesn't count; empty if it does.
        notes: problems of its files.
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
        """The run's flags; empty if unknown."""
        return dict(self.result.get("config", {}))

    @property
    def step(self) -> int:
        """The last global step in its files."""
        steps = [record["step"] for record in self.records]
        return int(max([self.result.get("steps", 0), *steps]))

    @property
    def data(self) -> str:
        """The fingerprint of data and split; empty in runs of an early version."""
        return str(self.result.get("data", ""))

    def curve(self, split: str) -> dict[str, np.ndarray]:
        """A split's lines as float arrays: step, loss, accuracy, seconds and, in training, lr."""
        lines = [record for record in self.records if record["split"] == split]
        names = ("step", "loss", "accuracy", *(("lr",) if split == "train" else ()))
        curve = {name: np.array([line[name] for line in lines], float) for name in names}
        times = self.times[np.argsort(self.times[:, 0], kind="stable")]
        steps, seconds = np.vstack([np.zeros((1, 2)), times]).T
        return {**curve, "seconds": np.interp(curve["step"], steps, seconds)}


def read(paths: Sequence[str]) -> list[Run]:
    """Reads all runs that the folders are or hold, in the order given, each once.

    Args:
        paths: runs' folders (see `_run_at`), or folders of several of them.

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
        except (ValueError, RuntimeError) as error:  # a zero byte; links in a circle
            raise UsageError(f"{path}: can't be read ({error}); check it") from error
    names = _names(list(folders))
    return [_read(name, folder) for name, folder in zip(names, folders.values(), strict=True)]


def smooth(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A training curve in at most PARTS points: the mean x of each part, the mean y around it.

    One of less than SMOOTHED_FROM points stays as it is.
    """
    if len(x) < SMOOTHED_FROM:
        return x, y
    parts = min(PARTS, len(x))
    xs, ys = (np.array([p.mean() for p in np.array_split(a, parts)]) for a in (x, y))
    around = [ys[max(i - NEIGHBOURS, 0) : i + NEIGHBOURS + 1].mean() for i in range(parts)]
    return xs, np.array(around)


def _expand(path: Path) -> Iterator[Path]:
    cure = "give a run's --run_dir or --output_dir, or a folder that holds such folders"
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise UsageError(f"{path}: {what}; {cure}")
    below = sorted(child for child in path.iterdir() if child.is_dir())
    # Those are files of earlier runs, which a new one moved out of its way.
    below = [child for child in below if not child.name.startswith("previous-")]
    found = [run for folder in (path, *below) for run in _run_at(folder)]
    if not found:
        there = sorted(shorten(child.name, 40) for child in path.iterdir())
        listed = ", ".join(there[:5]) + (", ..." if there[5:] else "")
        raise UsageError(
            f"{path}: no result.json or metrics.jsonl there, in output/, in checkpoints/ or one "
            f"folder down (it has {listed or 'nothing'}); {cure}"
        )
    yield from found[:1] if found[0] in _places(path) else found


def _places(folder: Path) -> tuple[Path, ...]:
    """Where a run's files may be: its --run_dir or --output_dir, or beside its checkpoints."""
    return (folder, folder / "output", folder / "checkpoints")


def _run_at(folder: Path) -> list[Path]:
    names = ("result.json", "metrics.jsonl")
    return [p for p in _places(folder) if any((p / name).is_file() for name in names)][:1]


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest unique ends of the paths, without a final output/."""
    bare = [f.parent if f.name in ("output", "checkpoints") else f for f in folders]
    if len(set(bare)) < len(bare):
        bare = list(folders)
    common = Path(os.path.commonpath([path.absolute().parent for path in bare]))
    return [shorten(path.absolute().relative_to(common), 200) for path in bare]


def _read(name: str, folder: Path) -> Run:
    notes: list[str] = []
    records = files.lines(folder / "metrics.jsonl", notes)
    pairs = [(line["step"], line["seconds"]) for line in files.lines(folder / "times.jsonl", notes)]
    times = np.array(pairs, float).reshape(-1, 2)
    result, unfinished, predictions = {}, "", None
    try:
        text = files.content(folder / "result.json", files.RESULT_BYTES)
        if text is None:
            unfinished = files.liveness(folder, ("metrics.jsonl", "times.jsonl"))
        else:
            result = results.checked(files.parsed(text))
            if result["stopped"] == "preempted":
                unfinished = "stopped, to go on later"
    except Damaged as error:
        unfinished = f"result.json {error}"
    if result and not unfinished:
        predictions = results.predictions(
            folder / "predictions.npz", result["test_accuracy"], notes
        )
    return Run(name, folder, result, records, times, predictions, unfinished, notes)
