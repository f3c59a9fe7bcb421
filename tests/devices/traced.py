"""Runs the program and writes down what each replica trained on, taken from within its step.

    python traced.py TRACE_FOLDER [flags of mnist_dist.train]

A line for each micro-batch of each replica: the step, the replica, and of each row that it counted
the image's bytes' digest and the label. The images are those that the loss is computed of.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from mnist_dist import train


def digest(image, label):
    return hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() + f" {label}"


def main(folder, arguments):
    with train.without_startup_messages():
        import tensorflow as tf

        from mnist_dist.training.replica import Replica

    file = (Path(folder) / f"trace-{os.getpid()}.jsonl").open("w")
    own = Replica._gradients

    def write(replica, step, real, images, labels):
        rows = zip(images.numpy()[: int(real)], labels.numpy(), strict=False)
        seen = [digest(image, label) for image, label in rows]
        line = {"step": int(step), "replica": int(replica), "seen": seen}
        file.write(json.dumps(line) + "\n")

    def gradients(self, images, labels, rows, total):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        tf.py_function(write, [replica, rows.step, rows.real, images, labels], [])
        return own(self, images, labels, rows, total)

    Replica._gradients = gradients
    code = train.main(arguments)
    file.close()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
