"""Reads image-classification sets of tensorflow-datasets into memory."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import absl.logging
import numpy as np

from mnist_dist.data.split import DataSet, Split
from mnist_dist.errors import UsageError

BATCH = 1024
RETRIES = 4


def read(name: str, data_dir: str) -> DataSet:
    """Reads a set that is prepared under `data_dir`, or downloads it there first.

    Raises:
        UsageError: the set is unknown, isn't one of equally large images with one class each, or
            can't be downloaded.
    """
    import tensorflow_datasets as tfds  # takes seconds, and devices must be configured first

    tfds.disable_progress_bar()
    # One error at the end replaces TFDS's messages about each attempt.
    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (ValueError, RuntimeError, tfds.core.DatasetNotFoundError) as error:
        raise UsageError(
            f"--dataset={name}: no such set in tensorflow-datasets or {data_dir} "
            f"({_first_line(error)}); give a name such as mnist or emnist/letters"
        ) from error
    whole = builder.info.features
    features = dict(whole.items()) if isinstance(whole, tfds.features.FeaturesDict) else {}
    keys = builder.info.supervised_keys or ("image", "label")
    image, label = keys[0], keys[-1]
    fits = isinstance(features.get(image), tfds.features.Image)
    if not fits or not isinstance(features.get(label), tfds.features.ClassLabel):
        raise UsageError(
            f"--dataset={name}: not a set of images with one class each; give one that is"
        )
    if not builder.is_prepared():
        print(f"{name} isn't prepared under {data_dir}: downloading it.", flush=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()), _few_retries():
            builder.download_and_prepare()
    # TFDS's downloaders raise many types of errors without a network.
    except Exception as error:
        raise UsageError(
            f"--dataset={name}: not prepared under {data_dir}, and downloading failed "
            f"({_first_line(error)}); prepare it there on a machine with network access"
        ) from error
    there = [split for split in ("train", "validation", "test") if split in builder.info.splits]
    if "train" not in there:
        raise UsageError(
            f"--dataset={name}: it has no split train, but {', '.join(builder.info.splits)}; "
            "give a set that has one"
        )
    splits = {split: _arrays(builder, split, name, image, label) for split in there}
    names = tuple(features[label].names)
    numbered = names == tuple(map(str, range(len(names))))
    return DataSet(
        f"TFDS {builder.info.full_name} ({builder.data_dir})",
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        class_names=() if numbered else names,
        num_classes=features[label].num_classes,
    )


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Limits retries: TFDS's ten, with exponential back-off, take 200 s without a network."""
    from tensorflow_datasets.core.download import downloader

    kept, downloader.MAX_RETRIES = downloader.MAX_RETRIES, RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = kept


def _arrays(builder: Any, split: str, name: str, image: str, label: str) -> Split:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(
        split=split, shuffle_files=False, read_config=tfds.ReadConfig(interleave_cycle_length=1)
    )
    images, labels = [], []
    try:
        for batch in tfds.as_numpy(dataset.batch(BATCH)):
            images.append(batch[image])
            labels.append(batch[label])
    except tf.errors.InvalidArgumentError as error:
        raise UsageError(
            f"--dataset={name}: its images aren't of one size; give a set whose images are"
        ) from error
    if images and images[0].dtype != np.uint8:
        raise UsageError(f"--dataset={name}: its images aren't of 8 bits; give a set that has such")
    return Split(np.concatenate(images), np.concatenate(labels).astype(np.int32))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
