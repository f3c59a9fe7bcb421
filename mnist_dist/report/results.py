"""Checks result.json and predictions.npz against their schemas."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnist_dist.data import npz
from mnist_dist.errors import UsageError
from mnist_dist.report.files import Damaged, number

NUMBERS = (
    *("test_accuracy", "test_loss", "steps", "epochs", "train_seconds", "images_per_s"),
    *("num_replicas", "num_workers", "parameters"),
)
"""Keys of a finished run's result.json that must be numbers."""

PREDICTIONS_BYTES = 48 << 20  # of each array: four million test images
MOST_CLASSES = 1000
MOST_SIDE_PX = 1024
LONGEST_NAME = 80  # of a class, in characters


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


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """Checks the keys of result.json that are used.

    Raises:
        Damaged: it doesn't fit the schema.
    """
    config = result.get("config")
    stopped = result.get("stopped")
    if not isinstance(config, dict) or not all(_plain(value) for value in config.values()):
        raise Damaged("is damaged (no config of flags)")
    if type(config.get("seed")) is not int or not isinstance(config.get("optimizer"), str):
        raise Damaged("is damaged (no config with seed and optimizer)")
    if not isinstance(stopped, str) or not isinstance(result.get("data", ""), str):
        raise Damaged("is damaged (no text in stopped or data)")
    for name in ("versions", "resources"):
        part = result.get(name, {})
        if not isinstance(part, dict) or not all(_plain(value) for value in part.values()):
            raise Damaged(f"is damaged (no plain values in {name})")
    if stopped != "preempted" and result.get("test_accuracy", 0.0) is None:
        raise Damaged(
            "has no test score: its data set has no labelled test images "
            "(python -m mnist_dist.evaluate RUN --split=validation)"
        )
    names = result.get("class_names", [])
    if not isinstance(names, list) or not all(
        isinstance(name, str) and len(name) <= LONGEST_NAME for name in names
    ):
        raise Damaged("is damaged (no list of names in class_names)")
    missing = ("test_accuracy", "test_loss") if stopped == "preempted" else ()
    wrong = [name for name in NUMBERS if name not in missing and not number(result.get(name))]
    if wrong:
        raise Damaged(f"is damaged (no {wrong[0]})")
    if any(result[name] < 0 for name in NUMBERS[2:]):
        raise Damaged("is damaged (no counts from 0)")
    for name in ("test_accuracy", "validation_accuracy"):
        score = result.get(name, "none")
        if score is not None and not (number(score) and 0.0 <= score <= 1.0):
            raise Damaged("is damaged (no accuracy within 0..1)")
    return result


def class_names(result: dict[str, Any], predictions: Predictions) -> list[str]:
    """What the classes in `predictions` are called: by the result's names, else by number."""
    labels, answers = predictions.label, predictions.prediction
    count = 1 + int(max(labels.max(initial=0), answers.max(initial=0)))
    names = result.get("class_names", [])
    return names if len(names) >= count else [str(number) for number in range(count)]


def _plain(value: Any) -> bool:
    """Whether a value is one that a flag can have."""
    if isinstance(value, list):
        return all(type(item) is int for item in value)
    return value is None or isinstance(value, str | bool) or number(value)


def predictions(path: Path, accuracy: float, notes: list[str]) -> Predictions | None:
    """Reads predictions.npz if it is there and of the result with that test accuracy.

    Otherwise None, and if it's there `notes` gets a line.
    """
    if not os.path.lexists(path):
        return None
    try:
        found = Predictions(*npz.read(path, Predictions._fields, PREDICTIONS_BYTES).values())
    except UsageError as error:
        notes.append(str(error).replace(str(path), "predictions.npz", 1))
        return None
    if not _fits(found):
        notes.append("predictions.npz is damaged: its arrays don't fit together")
        return None
    if not math.isclose((found.label == found.prediction).mean(), accuracy, abs_tol=1e-9):
        notes.append("predictions.npz isn't of the result beside it")
        return None
    return found


def _fits(found: Predictions) -> bool:
    """Whether the arrays are as `Predictions` says."""
    examples, images = found.label.size, found.mistake_image
    per_example = (found.label, found.prediction, found.loss)
    whole = (found.label, found.prediction, found.mistake_index)
    return (
        examples > 0
        and all(array.shape == (examples,) for array in per_example)
        and all(array.dtype.kind in "iu" and array.min(initial=0) >= 0 for array in whole)
        and all(array.max() < MOST_CLASSES for array in (found.label, found.prediction))
        and found.mistake_index.shape == images.shape[:1]
        and found.mistake_index.max(initial=0) < examples
        and images.dtype == np.uint8
        and images.ndim == 4
        and images.shape[3] in (1, 3, 4)
        and 0 < min(images.shape[1:3]) <= max(images.shape[1:3]) <= MOST_SIDE_PX
    )
