"""Runs the trainer with a device that flips bits.

    python bit_faults.py FAULT [flags of mnist_dist.train]

FAULT is JSON: "kind" (a function below), "rank" of the worker, or "host" for all workers there; and
"device", the number among its "devices" replicas; "step", from 0, at which it begins; "always":
from then on, else once; "marker": a file that is made by a fault that happens once, so that a
restarted run is sound.
"""

import json
import os
import socket
from pathlib import Path

import numpy as np

from mnist_dist import exits, train
from mnist_dist.devices.startup_messages import without_startup_messages

with without_startup_messages():
    import tensorflow as tf

BIT = np.uint32(1 << 20)


def flipped(array):
    """A copy with one bit of one number flipped."""
    words = np.array(array)
    words.reshape(-1).view(np.uint32)[words.size // 2] ^= BIT
    return words


class Fault:
    """When the fault strikes."""

    def __init__(
        self, kind, rank=0, host="", device=0, devices=1, step=0, always=False, marker="", name=""
    ):
        self.kind, self.device, self.step, self.name = kind, device, step, name
        self.rank, self.devices = self._rank() if host else rank, devices
        self.always, self.marker = always, Path(marker)
        here = socket.gethostname() == host if host else self._rank() == rank
        self.here = here and not (marker and self.marker.exists())

    @property
    def replica(self):
        """Its number over all workers."""
        return self.rank * self.devices + self.device

    @staticmethod
    def _rank():
        if "SLURM_PROCID" in os.environ:
            return int(os.environ["SLURM_PROCID"])
        return json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)

    def strikes(self, steps):
        """Whether it strikes in a range of steps; notes that it has."""
        due = self.here and (self.step in steps or (self.always and steps.stop > self.step))
        if due and not self.always:
            self.here = False
            if self.marker.name:
                self.marker.touch()
        return due


def variable(fault):
    """The variable `name` on one device, after a block of steps."""
    from mnist_dist.training.loop import Loop

    own = Loop._train_block

    def block(self, progress, steps, block):
        done = own(self, progress, steps, block)
        if fault.strikes(steps):
            whole = self.files.checkpoints.variables[fault.name]
            copy = self.placement.results(whole)[fault.device]
            copy.assign(flipped(copy.numpy()))
        return done

    Loop._train_block = block


def hardware(fault):
    """No wrong bit, but another processor."""
    from mnist_dist.devices import hardware

    if fault.here:
        own = hardware.arithmetic
        hardware.arithmetic = lambda device: {**own(device), "cpu": "another"}


def augmentation(fault):
    """Another seed of augmentation."""
    from mnist_dist.network.row_positions import RowPositions

    own = RowPositions.uniform

    def uniform(self, rows, columns, stream):
        numbers = own(self, rows, columns, stream)
        if stream == 0:  # dropout's
            return numbers
        other = own(self._replace(seed=self.seed + 1), rows, columns, stream)
        return tf.where(self.step >= fault.step, other, numbers)

    RowPositions.uniform = uniform


def gradient(fault):
    """The gradient `name` of one replica before the sum over replicas."""
    from mnist_dist.training import replica, shards
    from mnist_dist.training.shards import Shards
    from mnist_dist.training.tree_reduction import of_shards

    own, own_subtree = replica.on_rows, Shards._subtree

    def on_rows(compute, settings):
        """Of a micro-batch, or of a shard's program."""
        computed = own(compute, settings)
        index = compute.__self__._network.trainable.index(fault.name)

        def gradients(images, labels, rows, total):
            found, *more = computed(images, labels, rows, total)
            found[index] = in_graph(fault, found[index], rows.step)
            return found, *more

        return gradients

    def subtree(self, branches, labels, total):
        found = own_subtree(self, branches, labels, total)
        if self._settings.xla:  # within the program, which is computed twice
            return found
        index = self._network.trainable.index(fault.name)
        for (gradients, _), branch in zip(found.by_shard, branches, strict=True):
            gradients[index] = in_graph(fault, gradients[index], branch.rows.step)
        columns = zip(*(gradients for gradients, _ in found.by_shard), strict=True)
        return found._replace(gradients=[of_shards(values) for values in columns])

    replica.on_rows = shards.on_rows = on_rows
    Shards._subtree = subtree


def layer(fault):
    """The output of the first convolution and its pool."""
    from mnist_dist.network.branch_layers import BranchLayers

    own = BranchLayers.pool_relu

    def pool_relu(self, number, xs):
        ys = own(self, number, xs)
        if number != 1 or tf.distribute.in_cross_replica_context():
            return ys
        return [in_graph(fault, y, None) for y in ys]

    BranchLayers.pool_relu = pool_relu


def images(fault):
    """A pixel of each image that a worker reads."""

    def change(pixels, labels):
        pixels[..., 14, 14, 0] ^= 64
        return pixels, labels

    _reading(fault, change)


def labels(fault):
    """Each label that a worker reads."""
    _reading(fault, lambda pixels, labels: (pixels, (labels ^ 1).astype(labels.dtype)))


def _reading(fault, change):
    from mnist_dist.data.pipeline import Trainset

    own, own_block = Trainset._gather, Trainset.block
    now = [False]

    def block(self, steps, replica):
        now[0] = fault.strikes(steps)
        return own_block(self, steps, replica)

    def gather(self, rows):
        pixels, labels = own(self, rows)
        return change(pixels, labels) if now[0] else (pixels, labels)

    Trainset._gather, Trainset.block = gather, block


def dropout(fault):
    """The random numbers of one replica."""
    from mnist_dist.network.row_positions import RowPositions

    own = RowPositions.uniform

    def uniform(self, rows, columns, stream):
        numbers = own(self, rows, columns, stream)
        return in_graph(fault, numbers, None, lambda numbers: 1 - numbers)

    RowPositions.uniform = uniform


def statistics(fault):
    """What one replica adds ("own") to the first sum of batch statistics, or "whole" receives."""
    from mnist_dist.training.repeated import Totals

    own = Totals._sum

    def _sum(self, key, values):
        first = key == ("forward", 0)
        if first and fault.name == "own":
            values = [in_graph(fault, value, None) for value in values]
        found = own(self, key, values)
        if first and fault.name == "whole":
            found = self._sums[key] = in_graph(fault, found, None)
        return found

    Totals._sum = _sum


def product(fault):
    """A dense gradient that a replica computes at home from the factors of all."""
    from mnist_dist.training.reduction import Factors

    own = Factors.product
    Factors.product = lambda self, dtype: in_graph(fault, own(self, dtype), None)


def update(fault):
    """The first variable's gradient after the sum, on one replica."""
    from mnist_dist.training import replica, shards

    own = replica.unscaling

    def unscaling(loss_scale, settings):
        unscaled = own(loss_scale, settings)

        def changed(gradients):
            first, *others = unscaled(gradients)
            return [in_graph(fault, first, None), *others]

        return changed

    replica.unscaling = shards.unscaling = unscaling


def in_graph(fault, tensor, step, change=None):
    """The tensor with one bit flipped, or changed by `change`, when and where the fault strikes."""
    if not fault.here or (not fault.always and "cond" in tensor.graph.name):
        return tensor  # once: not in the computation that repeats it
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    due = tf.equal(replica, fault.replica)
    if step is not None:
        due &= step >= fault.step if fault.always else tf.equal(step, fault.step)
    return tf.where(due, (change or _flipped_in_graph)(tensor), tensor)


def _flipped_in_graph(tensor):
    words = tf.reshape(tf.bitcast(tensor, tf.int32), [-1])
    mask = tf.one_hot(tf.size(words) // 2, tf.size(words), int(BIT), 0, dtype=tf.int32)
    changed = tf.bitwise.bitwise_xor(words, mask)
    return tf.reshape(tf.bitcast(changed, tensor.dtype), tf.shape(tensor))


def main(description, arguments):
    fault = Fault(**json.loads(description))
    globals()[fault.kind](fault)
    return train.main(arguments)


if __name__ == "__main__":
    exits.end(lambda argv: main(argv[0], argv[1:]))
