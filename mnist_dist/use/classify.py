"""What `evaluate --images` prints: the classes of people's pictures.

Answers go to standard output, what was skipped to standard error.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_dist.errors import EXIT_USAGE
from mnist_dist.run import pictures
from mnist_dist.run.console import Console
from mnist_dist.use import handwriting
from mnist_dist.use.model import Model

TOP = 3


def classify(
    model: Model, paths: Sequence[Path], seen_dir: str | None, as_json: bool, console: Console
) -> int:
    """Classifies pictures and prints the answers; returns the exit code.

    Args:
        model: the network.
        paths: files with a digit each.
        seen_dir: folder for the images that the network saw, as PNG files; None for none.
        as_json: print one JSON object in place of the text.
        console: shows progress, and which files are skipped.

    Raises:
        UsageError: the network reads images of several channels.
        RunError: `seen_dir` can't be written.
    """
    read, skipped = read_pictures(model, paths, console)
    if seen_dir:
        for number, (path, image) in enumerate(read, 1):
            pictures.save(Path(seen_dir) / f"{number:03d}-{path.stem}.png", image)
    images = np.array([image for _, image in read], np.uint8).reshape(-1, *model.image_shape)
    answers = zip(read, model.predict(images).top(TOP), strict=True)
    console.stage("")
    if as_json:
        record = {
            "checkpoint": str(model.origin.saved.path),
            "step": model.step,
            "tta": model.tta,
            "images": [_record(model, path, top) for (path, _), top in answers],
            "skipped": [{"image": path, "reason": why} for path, why in skipped.items()],
        }
        print(json.dumps(record, allow_nan=False))
    else:
        for (path, _), top in answers:
            named = [(model.origin.class_name(number), share) for number, share in top]
            first, *others = (f"{name} ({100 * share:.2f} %)" for name, share in named)
            print(f"{path}: {first}{', or ' if others else ''}{', '.join(others)}")
    return EXIT_USAGE if skipped else 0


def read_pictures(
    model: Model, paths: Sequence[Path], console: Console
) -> tuple[list[tuple[Path, np.ndarray]], dict[str, str]]:
    """Reads people's pictures as the network sees them.

    Returns:
        (path, uint8 [height, width, 1]) for each picture that can be read, and for each other
        path the reason, which the console shows, too.

    Raises:
        UsageError: the network reads images of several channels.
    """
    handwriting.check_channels(model.image_shape)
    read: list[tuple[Path, np.ndarray]] = []
    skipped: dict[str, str] = {}
    console.stage("reading the pictures")
    for path in paths:
        try:
            read.append((path, handwriting.read(path, model.image_shape)))
        except handwriting.Unreadable as reason:
            skipped[str(path)] = str(reason)
            console.notice(f"{path}: {reason}; it is skipped".replace("\n", " "))
    return read, skipped


def _record(model: Model, path: Path, top: list[tuple[int, float]]) -> dict[str, Any]:
    """The record of a picture; with the names of classes that have some."""

    def one(number: int, share: float) -> dict[str, Any]:
        name = {"name": model.origin.class_name(number)} if model.origin.class_names else {}
        return {"class": number, **name, "probability": share}

    return {"image": str(path), **one(*top[0]), "top": [one(*each) for each in top]}
