"""What TensorBoard shows of a run, as records of its event files.

Each split is a run of TensorBoard's, and a quantity has the same name in all of them: so the
curves of a quantity stand in one chart. The folder itself has the flags (HParams) and the graph.

TensorFlow's own summary writer isn't used. It leaves the disk to the operating system, writes in a
thread that a full disk ends without a word, and doesn't say how many records there are. A
checkpoint counts on all three, so that a resumed run has each step once.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.run.pictures import png

SUMMARY_STEPS = 10
FOLDERS = {"train": "train", "validation": "validation", "test": "eval"}
"""Split -> folder; of training and test the notebook's names."""
ROOT = "."
"""The folder of what there is once."""


def head() -> bytes:
    """An event file's first record."""
    return _event(file_version="brain.Event:2")


def scalars(step: int, values: Mapping[str, float]) -> bytes:
    """Numbers after `step` global steps."""
    pairs = [tf.compat.v1.Summary.Value(tag=t, simple_value=v) for t, v in values.items()]
    return _event(step=step, summary=tf.compat.v1.Summary(value=pairs))


def image(step: int, name: str, pixels: np.ndarray) -> bytes:
    """A picture, uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    picture = tf.compat.v1.Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=png(pixels)
    )
    value = tf.compat.v1.Summary.Value(tag=name, image=picture)
    return _event(step=step, summary=tf.compat.v1.Summary(value=[value]))


def flags(values: Mapping[str, Any]) -> bytes:
    """A run's settings, for the tab of HParams."""
    from tensorboard.plugins.hparams import api  # takes a second

    plain = {
        name: value if isinstance(value, (bool, int, float)) else str(value)
        for name, value in values.items()
    }
    found = api.hparams_pb(plain).SerializeToString()  # of a class of TensorBoard's own
    return _event(summary=tf.compat.v1.Summary.FromString(found))


def network(graph: tf.Graph) -> bytes:
    """A graph of operations."""
    return _event(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())


def _event(**what: Any) -> bytes:
    return tf.compat.v1.Event(wall_time=time.time(), **what).SerializeToString()
