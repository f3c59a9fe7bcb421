"""Blocks on the devices: copied from the host, or gathered from a copy of the set on each device.

A GPU keeps a copy of the training images as uint8 for each replica, if they fit: a block then
transfers indices only, and the device gathers the rows. On a CPU the host gathers them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.data.pipeline import Block, RowsOfBlock, Trainset
from mnist_dist.devices.replica_placement import ReplicaPlacement

LARGEST_SHARE = 0.25  # of a GPU's memory that a copy of the images may take
ASSUMED_BYTES = 4 * 2**30  # memory of a GPU that doesn't report it

Blocks = Callable[[range], Any]
"""Steps of one epoch -> one Block for each of this worker's replicas, on its device."""


def fits(trainset: Trainset, memory_bytes: int) -> bool:
    """Whether a copy of the training images fits on a GPU of that much memory; 0: unknown."""
    return trainset.split.images.nbytes <= LARGEST_SHARE * (memory_bytes or ASSUMED_BYTES)


def from_host(trainset: Trainset, placement: ReplicaPlacement) -> Blocks:
    """Blocks that the host gathers and copies to the devices."""
    return lambda steps: placement.place(lambda replica: trainset.block(steps, replica))


def on_devices(trainset: Trainset, placement: ReplicaPlacement) -> Blocks:
    """Blocks that the devices gather, each from its own copy of the training set.

    A copy ends with an additional black image of class 0, which padding rows refer to.
    """
    split = trainset.split
    black = np.zeros((1, *split.images.shape[1:]), np.uint8)
    copies = {}
    for replica, device in zip(placement.local, placement.devices, strict=True):
        with tf.device(device):
            images = tf.concat([split.images, black], 0)
            copies[replica] = images, tf.constant(np.append(split.labels, np.int32(0)))

    def gathered(steps: range, replica: int) -> Block:
        def gather(rows: RowsOfBlock) -> tuple[tf.Tensor, tf.Tensor]:
            ids = tf.constant(rows.ids)
            images, labels = copies[replica]
            return tf.gather(images, ids), tf.gather(labels, ids)

        return trainset.rows(steps, replica).with_images(gather)

    return lambda steps: placement.place(lambda replica: gathered(steps, replica))
