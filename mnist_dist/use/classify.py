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
    shape = model.image_shape
    handwriting.check_channels(shape)
    read: list[tuple[Path, np.ndarray]] = []
    skipped: dict[str, str] = {}
    console.stage("reading the pictures")
    for path in paths:
        try:
            read.append((path, handwriting.read(path, shape)))
        except handwriting.Unreadable as reason:
            skipped[str(path)] = str(reason)
            console.notice(f"{path}: {reason}; it is skipped".replace("\n", " "))
    if seen_dir:
        for number, (path, image) in enumerate(read, 1):
            pictures.save(Path(seen_dir) / f"{number:03d}-{path.stem}.png", image)
    images = np.array([image for _, image in read], np.uint8).reshape(-1, *shape)
    answers = zip(read, model.predict(images).top(TOP), strict=True)
    console.stage("")
    if as_json:
        record = {
            "checkpoint": str(model.origin.saved.path),
            "step": model.step,
            "tta": model.tta,
            "images": [_record(path, top) for (path, _), top in answers],
            "skipped": [{"image": path, "reason": why} for path, why in skipped.items()],
        }
        print(json.dumps(record, allow_nan=False))
    else:
        for (path, _), top in answers:
            first, *others = (f"{name} ({100 * share:.2f} %)" for name, share in top)
            print(f"{path}: {first}{', or ' if others else ''}{', '.join(others)}")
    return EXIT_USAGE if skipped else 0


def _record(path: Path, top: list[tuple[int, float]]) -> dict[str, Any]:
    return {
        "image": str(path),
        "class": top[0][0],
        "probability": top[0][1],
        "top": [{"class": name, "probability": share} for name, share in top],
    }
