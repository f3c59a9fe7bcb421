"""How blocks get to the devices: as images, or as indices of images that live there.

On a GPU the training images stay on the card, as bytes, once for each replica: a block then
brings indices and the rows are gathered there. On a CPU the images are in the same memory anyway.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.data.pipeline import Block, Trainset
from mnist_dist.devices.replica_placement import ReplicaPlacement

SHARE = 0.25  # of a card's memory, the most that a set may take of it
UNKNOWN_BYTES = 4 * 2**30  # what a card counts as that doesn't tell its memory

Blocks = Callable[[range], Any]
"""Global steps of one epoch -> this worker's replicas' Blocks, distributed."""


def fits(trainset: Trainset, memory_bytes: int) -> bool:
    """Whether the training images may live on a card of that much memory; 0: unknown."""
    return trainset.split.images.nbytes <= SHARE * (memory_bytes or UNKNOWN_BYTES)


def from_host(trainset: Trainset, placement: ReplicaPlacement) -> Blocks:
    """Blocks whose images are gathered on the host."""
    return lambda steps: placement.place(lambda replica: trainset.block(steps, replica))


def on_devices(trainset: Trainset, placement: ReplicaPlacement) -> Blocks:
    """Blocks whose images are gathered on the devices, from a copy of the set on each.

    The copies have a black image more, of class 0: that of the rows that a replica doesn't have.
    """
    split = trainset.split
    black = np.zeros((1, *split.images.shape[1:]), np.uint8)
    copies = {}
    for replica, device in zip(placement.local, placement.devices, strict=True):
        with tf.device(device):
            images = tf.concat([split.images, black], 0)
            copies[replica] = images, tf.constant(np.append(split.labels, np.int32(0)))

    def gathered(steps: range, replica: int) -> Block:
        images, labels = copies[replica]
        rows = trainset.rows(steps, replica)
        ids = tf.constant(rows.ids)
        return Block(tf.gather(images, ids), tf.gather(labels, ids), *rows[1:])

    return lambda steps: placement.place(lambda replica: gathered(steps, replica))
