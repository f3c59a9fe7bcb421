"""Runs the program with a gradient of replica 1 alone infinite at global step 3 (from 0)."""

import os
import sys

from mnist_dist import train

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # as the program does for float16, but before TensorFlow


def main(arguments):
    with train.without_startup_messages():
        import tensorflow as tf

        from mnist_dist.training.replica import Replica

    own = Replica._gradients

    def gradients(self, images, labels, rows, total):
        found, sums, statistics = own(self, images, labels, rows, total)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        hit = tf.logical_and(tf.equal(replica, 1), tf.equal(rows.step, 3))
        found[0] += tf.where(hit, float("inf"), 0.0)
        return found, sums, statistics

    Replica._gradients = gradients
    return train.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
