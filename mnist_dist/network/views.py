"""Test-time averaging: what a network says of an image and of it moved a little, together."""

import math
from collections.abc import Sequence

import tensorflow as tf

from mnist_dist.network.model import Branch, Network


def answers(network: Network, parts: Sequence[tf.Tensor], tta: bool) -> list[tf.Tensor]:
    """A trained network's answers to parts of a batch, each in operations of its own.

    Args:
        network: the trained network.
        parts: dtype [rows, height, width, channels] each, in 0..1.
        tta: give the mean probabilities over an image's views, in the place of its own.

    Returns:
        Logits of each part, dtype [rows, classes]: the probabilities are their softmax.
    """
    if not tta:
        return network.side_by_side([Branch(part) for part in parts])[0]
    found: list[list[tf.Tensor]] = []
    for moved in zip(*map(views, parts), strict=True):
        # One view after another, so that they don't stand in memory together.
        with tf.control_dependencies(found[-1] if found else []):
            branches = [Branch(tf.identity(part)) for part in moved]
        logits, _ = network.side_by_side(branches)
        found.append([tf.nn.log_softmax(part) for part in logits])
    return [tf.reduce_logsumexp(part, 0) - math.log(len(part)) for part in zip(*found, strict=True)]


def views(images: tf.Tensor) -> list[tf.Tensor]:
    """Each image as it is, and half a pixel up, down, left and right, with zeros around it.

    Half a pixel is the mean of two neighbours, as bilinear sampling has it.

    Args:
        images: dtype [rows, height, width, channels].
    """
    height, width = images.shape[1], images.shape[2]
    around = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    corners = (2, 1), (0, 1), (1, 2), (1, 0)
    others = [around[:, top : top + height, left : left + width] for top, left in corners]
    return [images, *((images + other) * 0.5 for other in others)]
