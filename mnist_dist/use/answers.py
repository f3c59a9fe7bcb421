"""What `evaluate` does: a model on this machine's device, its score or its answers, and the words.

Numbers go to standard output, what was skipped to standard error.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.cluster import session
from mnist_dist.cluster.topology import Topology
from mnist_dist.data import sources
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import EXIT_USAGE, UsageError
from mnist_dist.run import pictures
from mnist_dist.run.console import Console
from mnist_dist.training.loop import score_line
from mnist_dist.use import handwriting
from mnist_dist.use.model import Model
from mnist_dist.use.origin import Origin
from mnist_dist.use.score import Scores, check_fits, summary
from mnist_dist.use.score import score as evaluated

TOP = 3


@contextlib.contextmanager
def model(
    made: Origin, no_gpu: bool, tta: bool = False
) -> Iterator[tuple[Model, ReplicaPlacement]]:
    """The run's network on one device of this machine: a GPU if there is one, else the CPU.

    Args:
        made: the checkpoint.
        no_gpu: leave GPUs alone.
        tta: answer by the mean over several views of an image.
    """
    gpu = bool(tf.config.list_physical_devices("GPU")) and not no_gpu
    config = made.config
    # Layouts differ in rounding; some CPUs can't compute in the one that a GPU prefers.
    precision = made.saved.state["identity"]["precision"]  # never "auto"
    simple = made.network.precision in ("float32", "mixed_bfloat16")
    same = gpu or (config.data_format == "channels_first" and simple)
    config = dataclasses.replace(
        config,
        no_gpu=not gpu,
        gpus="1" if gpu else "",
        virtual_devices=0,
        strategy="auto",
        collective="auto",
        data_format="auto",
        precision="float32" if precision == "tf32" and not gpu else precision,
    )
    with session.join(assembly.wanted(config), assembly.terms(config), Topology()) as joined:
        assembly.arithmetic(config, joined.devices)
        yield Model(made, made.network.channels_first and same, tta), joined.placement


def data(made: Origin, data_dir: str | None, dataset: str | None) -> ImageData:
    """The data to score on: the run's own where nothing else is given.

    Raises:
        UsageError: it can't be read, or the run's own isn't there any more.
    """
    config = made.config
    if data_dir is None and dataset is None:
        found = sources.load(*config.data_flags)
        if found.fingerprint != made.data:
            raise UsageError(
                f"{found.source}: not what the run was trained on (another fingerprint); "
                "give --data_dir or --dataset to score it on this or that"
            )
        return found
    other = dataclasses.replace(config, data_dir=data_dir or config.data_dir, dataset=dataset or "")
    return sources.load(*other.data_flags)


def score(  # noqa: PLR0913
    model: Model,
    placement: ReplicaPlacement,
    data: ImageData,
    split: str,
    mistakes: str | None,
    as_json: bool,
    console: Console,
) -> None:
    """Scores the network and says so.

    Args:
        model: the network.
        placement: the device.
        data: the set.
        split: train, validation or test.
        mistakes: PNG file for the worst mistakes.
        as_json: one JSON object in place of the text.
        console: where it is shown what goes on.

    Raises:
        UsageError: a set of other images or classes, or without such a split.
    """
    check_fits(model, data)
    part = getattr(data, split)
    if not len(part.labels):
        raise UsageError(f"--split={split}: it is empty in {data.source}; give another split")
    console.stage(f"evaluating {split}")
    found = evaluated(model, placement, part)
    scores = summary(found, part.labels, model.num_classes)
    drawn = 0
    if mistakes:
        worst = found.worst(part.labels)
        drawn = len(worst)
        columns = part.images, part.labels, found.predictions, found.losses
        pictures.save(Path(mistakes), pictures.mistakes(*(column[worst] for column in columns)))
    console.stage("")
    if as_json:
        about = {
            "checkpoint": str(model.origin.saved.path),
            "step": model.step,
            "tta": model.tta,
            "split": split,
            "data": data.fingerprint,
            "source": data.source,
        }
        print(json.dumps({**about, **_record(scores)}, allow_nan=False))
        return
    console.line(_weights(model))
    other = "" if data.fingerprint == model.origin.data else " (not what the run was trained on)"
    console.line(f"Data: {data.source}{other}.")
    print("\n".join(_text(split, scores)))
    if mistakes:
        print(f"The {drawn} worst mistakes are drawn in {mistakes}.")


def ask(
    model: Model, paths: Sequence[Path], folder: str | None, as_json: bool, console: Console
) -> int:
    """Asks the network about pictures and says what it answers; returns the exit code.

    Args:
        model: the network.
        paths: files with a digit each.
        folder: where to save what the network saw.
        as_json: one JSON object in place of the text.
        console: where it is shown what goes on, and what is skipped.
    """
    shape = model.image_shape
    if shape[2] != 1:
        raise UsageError(
            f"the run's images have {shape[2]} channels, and handwriting is read as one; "
            "--images is for runs on sets such as MNIST"
        )
    seen: list[tuple[Path, np.ndarray]] = []
    skipped: dict[str, str] = {}
    console.stage("reading the pictures")
    for path in paths:
        try:
            seen.append((path, handwriting.read(path, shape)))
        except handwriting.Unreadable as reason:
            skipped[str(path)] = str(reason)
            console.notice(f"{path}: {reason}; it is skipped".replace("\n", " "))
    if folder:
        for number, (path, image) in enumerate(seen, 1):
            pictures.save(Path(folder) / f"{number:03d}-{path.stem}.png", image)
    images = np.array([image for _, image in seen], np.uint8).reshape(-1, *shape)
    tops = model.predict(images).top(TOP)
    console.stage("")
    if as_json:
        record = {
            "checkpoint": str(model.origin.saved.path),
            "step": model.step,
            "tta": model.tta,
            "images": [_answer(path, top) for (path, _), top in zip(seen, tops, strict=True)],
            "skipped": [{"image": path, "reason": why} for path, why in skipped.items()],
        }
        print(json.dumps(record, allow_nan=False))
    else:
        for (path, _), top in zip(seen, tops, strict=True):
            first, *others = (f"{name} ({100 * share:.2f} %)" for name, share in top)
            print(f"{path}: {first}{', or ' if others else ''}{', '.join(others)}")
    return EXIT_USAGE if skipped else 0


def _answer(path: Path, top: list[tuple[int, float]]) -> dict[str, Any]:
    return {
        "image": str(path),
        "class": top[0][0],
        "probability": top[0][1],
        "top": [{"class": name, "probability": share} for name, share in top],
    }


def _weights(model: Model) -> str:
    best = model.origin.saved.state.get("best_step")
    kinds = ["the best by --patience"] if best == model.step else []
    kinds += ["averages of --ema"] if model.origin.config.ema else []
    kinds += ["answers averaged over 5 views (--tta)"] if model.tta else []
    return f"Weights: {model.origin.saved.path}{''.join(f', {kind}' for kind in kinds)}."


def _record(scores: Scores) -> dict[str, Any]:
    """As JSON, which knows no nan: null."""
    names = ("examples", "loss", "loss_error", "accuracy", "accuracy_error")
    rows = zip(scores.precision.tolist(), scores.recall.tolist(), strict=True)
    return {
        **{name: _number(getattr(scores, name)) for name in names},
        "precision_recall": [[_number(p), _number(r)] for p, r in rows],
        "confusion": scores.confusion.tolist(),
    }


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(split: str, scores: Scores) -> Iterator[str]:
    """The notebook's line, then loss and accuracy with their errors, then the classes."""
    named = {"loss": scores.loss, "accuracy": scores.accuracy}
    yield score_line(split, named).strip()
    yield (
        f"{scores.examples:,} images: loss {scores.loss:.5f} ± {scores.loss_error:.5f}, accuracy "
        f"{100 * scores.accuracy:.3f} ± {100 * scores.accuracy_error:.3f} % (± standard error)"
    )
    yield "\nPrecision and recall in %; how often each label (row) got each prediction (column):"
    classes = range(len(scores.confusion))
    size = max(len(str(scores.confusion.max())), len(str(len(classes)))) + 1
    yield f"label  precision  recall {''.join(f'{name:>{size}}' for name in classes)}"
    for label, row in enumerate(scores.confusion.tolist()):
        precision, recall = _percent(scores.precision[label]), _percent(scores.recall[label])
        counts = "".join(f"{count or '.':>{size}}" for count in row)
        yield f"{label:>5}  {precision:>9}  {recall:>6} {counts}"


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{100 * share:.2f}"
