"""Runs the trainer with a device that flips bits.

    python bit_faults.py FAULT [flags of mnist_dist.train]

FAULT is JSON: "kind" (a function below), "rank" of the worker and "device", the number among its
replicas; "step", from 0, at which it begins; "always": from then on, else once; "marker": a file
that is made by a fault that happens once, so that a restarted run is sound.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from mnist_dist import train
from mnist_dist.devices.startup_messages import without_startup_messages

BIT = np.uint32(1 << 7)


def flipped(array):
    """A copy with one bit of one number flipped."""
    words = np.array(array)
    words.reshape(-1).view(np.uint32)[words.size // 2] ^= BIT
    return words


class Fault:
    """When the fault strikes."""

    def __init__(self, kind, rank, device, step, always=False, marker="", name=""):
        self.kind, self.device, self.step, self.name = kind, device, step, name
        self.always, self.marker = always, Path(marker)
        self.here = self._rank() == rank and not (marker and self.marker.exists())

    @staticmethod
    def _rank():
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

    def block(self, steps, block):
        done = own(self, steps, block)
        if fault.strikes(steps):
            whole = self.files.checkpoints.variables[fault.name]
            copy = self.placement.results(whole)[fault.device]
            copy.assign(flipped(copy.numpy()))
        return done

    Loop._train_block = block


def main(description, arguments):
    fault = Fault(**json.loads(description))
    with without_startup_messages():
        import tensorflow  # noqa: F401
    globals()[fault.kind](fault)
    return train.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
