"""Writes MNIST as a prepared TFDS set: `python -m mnist_dist.data.prepare --data_dir=D`.

Then `tfds.load("mnist", data_dir=D, download=False)` reads the set without a network.
"""

from mnist_dist import exits

exits.begin(__name__)

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

from absl import logging

from mnist_dist.data import sources
from mnist_dist.data.split import Split
from mnist_dist.devices.startup_messages import without_startup_messages
from mnist_dist.errors import UsageError
from mnist_dist.run.command import Parser, answered
from mnist_dist.run.folders import writable

VERSION = "3.0.1"  # of TFDS's own mnist, fashion_mnist and kmnist


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    parser = Parser(prog="python -m mnist_dist.data.prepare", description=__doc__)
    parser.add_argument("--data_dir", required=True, help="where to write the set")
    parser.add_argument(
        "--idx_dir",
        type=str,
        default="",
        help="folder of a data set (docs/data.md) or an .npz; default: embedded MNIST",
    )
    parser.add_argument("--name", default="mnist", help="the set's TFDS name; default: mnist")
    args = parser.parse_args(argv)
    place = prepare(Path(args.data_dir), args.idx_dir, args.name)
    print(f"Prepared {place}")
    return 0


def prepare(data_dir: Path, idx_dir: str, name: str) -> Path:
    """Writes a data set as TFDS's NAME/VERSION; it appears complete or not at all.

    Args:
        data_dir: TFDS's folder of data sets.
        idx_dir: the set's folder; empty for the embedded MNIST.
        name: the set's name, such as fashion_mnist.

    Returns:
        The folder that was written.

    Raises:
        UsageError: files are damaged, or the folder exists or isn't writable.
    """
    if not name.isidentifier():
        raise UsageError(f"--name={name}: give a TFDS name such as mnist or fashion_mnist")
    place = data_dir / name / VERSION
    if place.exists():
        raise UsageError(f"{place} is there already; remove it, or give another --data_dir")
    data = sources.load(idx_dir, "", 0)
    writable(place.parent, "--data_dir")
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".preparing-", dir=data_dir))
    try:
        splits = {"train": data.train, "test": data.test}
        names = list(data.class_names) or [str(number) for number in range(data.num_classes)]
        _write(aside, name, {k: v for k, v in splits.items() if len(v.labels)}, names)
        (aside / name / VERSION).rename(place)
    finally:
        shutil.rmtree(aside)
    return place


def _write(folder: Path, name: str, splits: dict[str, Split], names: list[str]) -> None:
    with without_startup_messages():
        import tensorflow as tf
        import tensorflow_datasets as tfds

        tf.config.set_visible_devices([], "GPU")
    tfds.disable_progress_bar()
    logging.set_verbosity(logging.ERROR)
    shape = splits["train"].images.shape[1:]
    features = {
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(names=names),
    }
    examples = {
        split: [
            (number, {"image": image, "label": int(label)})
            for number, (image, label) in enumerate(zip(*arrays, strict=True))
        ]
        for split, arrays in splits.items()
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it announces a download
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=VERSION,
            features=tfds.features.FeaturesDict(features),
            split_datasets=examples,
            data_dir=folder,
            disable_shuffling=True,  # keeps the order of the files, and so the validation split
            description=f"{name}, written by mnist_dist.data.prepare from its files.",
        )


if __name__ == "__main__":
    exits.end(main)
