"""What `evaluate --images` prints: the classes of people's pictures.

Answers go to standard output, what was skipped to standard error.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mnist_dist.errors import EXIT_USAGE, shorten
from mnist_dist.run import pictures
from mnist_dist.run.console import Console
from mnist_dist.use import handwriting
from mnist_dist.use.brightness import Unreadable
from mnist_dist.use.model import Model
from mnist_dist.use.picture_files import Pictures

TOP = 3
UNSURE = 0.6
"""Answers of a smaller probability are marked. configs/fast.cfg: 162 of MNIST's 10,000 test images,
among them 60 of the 87 that are wrong."""

MOST_NOTICES = 20


def classify(
    model: Model, found: Pictures, seen_dir: str | None, as_json: bool, console: Console
) -> int:
    """Classifies pictures and prints the answers; returns the exit code.

    Args:
        model: the network.
        found: files with a digit each.
        seen_dir: folder for the images that the network saw, as PNG files; None for none.
        as_json: print one JSON object in place of the text.
        console: shows progress, and which files are skipped.

    Raises:
        UsageError: the network reads images of several channels.
        RunError: `seen_dir` can't be written.
    """
    read, skipped = read_pictures(model, found, console)
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
            unsure = "unsure: " if named[0][1] < UNSURE else ""
            print(f"{path}: {unsure}{first}{', or ' if others else ''}{', '.join(others)}")
    return EXIT_USAGE if skipped else 0


def read_pictures(
    model: Model, found: Pictures, console: Console
) -> tuple[list[tuple[Path, np.ndarray]], dict[str, str]]:
    """Reads people's pictures as the network sees them.

    Returns:
        (path, uint8 [height, width, 1]) for each picture that can be read, and for each other
        path the reason, which the console shows for the first ones, too.

    Raises:
        UsageError: the network reads images of several channels.
    """
    handwriting.check_channels(model.image_shape)
    read: list[tuple[Path, np.ndarray]] = []
    skipped: dict[str, str] = {}

    def skip(path: str, why: str) -> None:
        skipped[path] = why
        if len(skipped) <= MOST_NOTICES:
            console.notice(f"{shorten(path, 1000)}: {why}; it is skipped".replace("\n", " "))

    console.stage("reading the pictures")
    for path in found.paths:
        try:
            read.append((path, handwriting.read(path, model.image_shape)))
        except Unreadable as reason:
            skip(str(path), str(reason))
    for name, why in found.others.items():
        skip(name, why)
    if len(skipped) > MOST_NOTICES:
        console.notice(f"{len(skipped) - MOST_NOTICES} more are skipped; --json names them all")
    return read, skipped


def _record(model: Model, path: Path, top: list[tuple[int, float]]) -> dict[str, Any]:
    """The record of a picture; with the names of classes that have some."""

    def one(number: int, share: float) -> dict[str, Any]:
        name = {"name": model.origin.class_name(number)} if model.origin.class_names else {}
        return {"class": number, **name, "probability": share}

    unsure = {"unsure": True} if top[0][1] < UNSURE else {}
    return {"image": str(path), **one(*top[0]), **unsure, "top": [one(*each) for each in top]}
