"""Image-classification sets of tensorflow-datasets, read whole into memory."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import absl.logging
import numpy as np

from mnist_dist.data.split import Split
from mnist_dist.errors import UsageError

BATCH = 1024
RETRIES = 4


def read(name: str, data_dir: str) -> tuple[Split, Split, int, str]:
    """Reads a set that is prepared under `data_dir`, or downloads it there.

    Returns:
        The training and the test split, the number of classes and where it came from.

    Raises:
        UsageError: no such set, no classification of equal images, no network to fetch it.
    """
    import tensorflow_datasets as tfds  # takes seconds, and TensorFlow's devices must be set first

    tfds.disable_progress_bar()
    # What can't be had is said once, at the end, and not at each of TFDS's tries.
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
    # Each of TFDS's downloaders fails in its own way without a network; all end the same here.
    except Exception as error:
        raise UsageError(
            f"--dataset={name}: not prepared under {data_dir}, and downloading failed "
            f"({_first_line(error)}); prepare it there on a machine with network access"
        ) from error
    missing = {"train", "test"} - set(builder.info.splits)
    if missing:
        raise UsageError(
            f"--dataset={name}: it has no split {', '.join(sorted(missing))}; "
            "give a set that has train and test"
        )
    train, test = (_arrays(builder, part, name, image, label) for part in ("train", "test"))
    origin = f"TFDS {builder.info.full_name} ({builder.data_dir})"
    return train, test, features[label].num_classes, origin


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """TFDS's own ten, each after twice the wait, take 200 s to find that there is no network."""
    from tensorflow_datasets.core.download import downloader

    kept, downloader.MAX_RETRIES = downloader.MAX_RETRIES, RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = kept


def _arrays(builder: Any, part: str, name: str, image: str, label: str) -> Split:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(
        split=part, shuffle_files=False, read_config=tfds.ReadConfig(interleave_cycle_length=1)
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
