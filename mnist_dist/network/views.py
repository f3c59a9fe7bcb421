"""Test-time averaging: the mean answer to an image and to it moved by half a pixel."""

import math
from collections.abc import Sequence

import tensorflow as tf

from mnist_dist.network.branch import Branch
from mnist_dist.network.own import AnyNetwork


def logits(network: AnyNetwork, batches: Sequence[tf.Tensor], tta: bool) -> list[tf.Tensor]:
    """A trained network's logits of several batches, each in operations of its own.

    Args:
        network: the trained network.
        batches: dtype [rows, height, width, channels] each, in 0..1.
        tta: take the mean of the probabilities over an image's views.

    Returns:
        Each batch's logits, dtype [rows, classes]; their softmax is the probabilities.
    """
    if not tta:
        return network.side_by_side([Branch(batch) for batch in batches])[0]
    found: list[list[tf.Tensor]] = []
    for moved in zip(*map(views, batches), strict=True):
        # Run one after another, so that only one view is in memory.
        with tf.control_dependencies(found[-1] if found else []):
            branches = [Branch(tf.identity(batch)) for batch in moved]
        found.append([tf.nn.log_softmax(x) for x in network.side_by_side(branches)[0]])
    by_batch = zip(*found, strict=True)
    return [tf.reduce_logsumexp(x, 0) - math.log(len(x)) for x in by_batch]


def views(images: tf.Tensor) -> list[tf.Tensor]:
    """Each image as it is, and moved by half a pixel up, down, left and right, padded with zeros.

    Moving by half a pixel takes the mean of two neighbours, which is bilinear sampling.

    Args:
        images: dtype [rows, height, width, channels].
    """
    height, width = images.shape[1], images.shape[2]
    around = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    corners = (2, 1), (0, 1), (1, 2), (1, 0)
    others = [around[:, top : top + height, left : left + width] for top, left in corners]
    return [images, *((images + other) * 0.5 for other in others)]
