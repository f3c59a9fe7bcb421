"""Records of TensorBoard's event files.

TensorBoard shows each folder of event files as a run. Training, validation and test have a folder
each and use the same names, so a chart has all three curves of a quantity. The flags (HParams) and
the graph are in the folder of training, of which the other two are subfolders: only so TensorBoard
lists their scores beside the flags.

TensorFlow's own summary writer isn't used, because it doesn't sync to the disk, ends silently when
the disk is full, and doesn't tell how many records it wrote. A checkpoint needs all three, so that
each step of a resumed run is there once.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.run.pictures import png

SUMMARY_STEPS = 10
FOLDERS = {"train": ".", "validation": "validation", "test": "eval"}
"""Split -> folder, below --output_dir; the notebook's name for that of the test set."""
SUBFOLDERS = ("validation", "eval")


def version() -> bytes:
    """Returns an event file's first record."""
    return _event(file_version="brain.Event:2")


def scalars(step: int, values: Mapping[str, float]) -> bytes:
    """Returns a record of scalars, name -> value, after `step` global steps."""
    pairs = [tf.compat.v1.Summary.Value(tag=t, simple_value=v) for t, v in values.items()]
    return _event(step=step, summary=tf.compat.v1.Summary(value=pairs))


def image(step: int, name: str, pixels: np.ndarray) -> bytes:
    """Returns a record of a picture, uint8 [height, width, 3], after `step` global steps."""
    height, width, _ = pixels.shape
    picture = tf.compat.v1.Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=png(pixels)
    )
    value = tf.compat.v1.Summary.Value(tag=name, image=picture)
    return _event(step=step, summary=tf.compat.v1.Summary(value=[value]))


def flags(values: Mapping[str, Any]) -> bytes:
    """Returns a record of a run's flags, name -> value, for the HParams tab."""
    from tensorboard.plugins.hparams import api  # the import takes a second

    plain = {
        name: value if isinstance(value, (bool, int, float)) else str(value)
        for name, value in values.items()
    }
    serialized = api.hparams_pb(plain).SerializeToString()  # a class of TensorBoard's own
    return _event(summary=tf.compat.v1.Summary.FromString(serialized))


def network(graph: tf.Graph) -> bytes:
    """Returns a record of a TensorFlow graph."""
    return _event(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())


def _event(**fields: Any) -> bytes:
    return tf.compat.v1.Event(wall_time=time.time(), **fields).SerializeToString()
