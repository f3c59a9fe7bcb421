"""Writes predictions as a CSV table: Kaggle's submission, or a row for each picture."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mnist_dist.data import sources
from mnist_dist.data.split import Unlabelled
from mnist_dist.errors import EXIT_USAGE, RunError, UsageError, shorten
from mnist_dist.run.atomic import replace
from mnist_dist.run.console import Console
from mnist_dist.use.classify import read_pictures
from mnist_dist.use.device import load_data
from mnist_dist.use.model import Model
from mnist_dist.use.picture_files import Pictures


def write(
    model: Model, pictures: Pictures | None, data_dir: str | None, path: Path, console: Console
) -> int:
    """Writes the answers for `pictures` if they are given, else for the set in `data_dir`."""
    if pictures:
        return of_pictures(model, pictures, path, console)
    return of_test_set(model, data_dir, path, console)


def of_test_set(model: Model, data_dir: str | None, path: Path, console: Console) -> int:
    """Answers for a set's test images without labels, or its test set if all have labels.

    Args:
        model: the network.
        data_dir: the folder of the set; None for the run's own data.
        path: the CSV file to write. Images with file names get a row of name, class and
            probabilities, others a row of ImageId, from 1, and Label.
        console: where progress is shown.

    Returns:
        The exit code.

    Raises:
        UsageError: the set can't be read, has no test images, or images of another size.
        RunError: the file can't be written.
    """
    console.stage("reading the data")
    if data_dir is None:
        data = load_data(model.origin, None, None)
        images = data.unlabelled if len(data.unlabelled.images) else Unlabelled(data.test.images)
        source = data.source
        if not len(images.images):
            raise UsageError(f"{source}: it has no test images; give --data_dir or --images")
    else:
        images, source = sources.load_unlabelled(data_dir)
    if images.images.shape[1:] != model.image_shape:
        found, wanted = (
            "x".join(map(str, shape)) for shape in (images.images.shape[1:], model.image_shape)
        )
        raise UsageError(
            f"{source}: images of {found}, and the run's are {wanted}; give a set of that size"
        )
    console.stage("predicting")
    found_classes = model.predict(images.images)
    console.stage("")
    if images.names:
        _write_named(model, images.names, found_classes.probabilities, path)
    else:
        _write(path, ("ImageId", "Label"), enumerate(found_classes.classes.tolist(), 1))
    print(f"{len(images.images):,} predictions for {source} are in {path}.")
    return 0


def of_pictures(model: Model, pictures: Pictures, path: Path, console: Console) -> int:
    """Answers for people's pictures of digits, a row each; those that can't be read are skipped.

    Args:
        model: the network.
        pictures: the files.
        path: the CSV file to write, of name, class and probabilities.
        console: where progress is shown, and what is skipped.

    Returns:
        The exit code.

    Raises:
        UsageError: the run's images have several channels.
        RunError: the file can't be written.
    """
    seen, skipped = read_pictures(model, pictures, console)
    images = np.array([image for _, image in seen], np.uint8).reshape(-1, *model.image_shape)
    console.stage("predicting")
    probabilities = model.predict(images).probabilities
    console.stage("")
    _write_named(model, [str(name) for name, _ in seen], probabilities, path)
    print(f"{len(seen):,} predictions are in {path}.")
    return EXIT_USAGE if skipped else 0


def _write_named(model: Model, names: Iterable[str], probabilities: np.ndarray, path: Path) -> None:
    classes = [model.origin.class_name(number) for number in range(model.num_classes)]
    rows = (
        (shorten(name, 1000), classes[int(row.argmax())], *(f"{share:.6f}" for share in row))
        for name, row in zip(names, probabilities, strict=True)
    )
    _write(path, ("name", "class", *(f"p({name})" for name in classes)), rows)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    try:
        replace(path, file.getvalue().encode())
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror or error})") from error
