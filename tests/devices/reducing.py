"""Sums gradients over logical CPU devices, and prints what it found: a line of JSON.

    python reducing.py REPLICAS

Gradients of a kernel [5, 3] of three rows a replica, with zeros of both signs, as a product and as
factors, without a loss scale.
"""

import json
import sys

from mnist_dist import train

INPUTS, UNITS, ROWS = 5, 3, 3


def rows(seed, width, dtype):
    """[4 * ROWS, width]: normal numbers, a third zeros of either sign, and a whole row of -0.0."""
    import numpy as np

    generator = np.random.default_rng(seed)
    found = generator.normal(size=(4 * ROWS, width))
    found[generator.random(found.shape) < 0.17] = 0.0
    found[generator.random(found.shape) < 0.17] = -0.0
    found[1] = -0.0
    return found.astype(dtype)


def main(replicas):
    with train.without_startup_messages():
        import numpy as np
        import tensorflow as tf

        from mnist_dist.training import reduction, tree_reduction
        from mnist_dist.training.loss_scale import LossScale
        from mnist_dist.training.reduction import Factors

    cpu = tf.config.list_physical_devices("CPU")[0]
    cut = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpu, cut)
    names = [f"/cpu:{number}" for number in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(
        names, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )

    def each(function):
        """What a function of the replica's number gives on each replica, in a graph."""

        def call():
            context = tf.distribute.get_replica_context()
            return function(context.replica_id_in_sync_group)

        run = tf.function(lambda: strategy.run(call), autograph=False)
        return [strategy.experimental_local_results(value) for value in tf.nest.flatten(run())]

    def own(table, replica):
        share = len(table) // replicas
        return tf.constant(table)[replica * share : (replica + 1) * share]

    def bits(values):
        return [value.numpy().tobytes().hex() for value in values]

    def factors(replica, dtype="float32"):
        return Factors(own(rows(1, INPUTS, dtype), replica), own(rows(2, UNITS, dtype), replica))

    def placed(replica):
        return reduction.all_reduce(reduction.placed(own(rows(1, INPUTS, "float32"), replica)))

    def by_factors(replica, wire=tf.float64):
        other = tf.fill([2], tf.cast(replica + 1, tf.float64))
        given = [other, factors(replica, "float64")]
        gradients, sums = reduction.summed(given, tf.ones([3], tf.float64), wire)
        return [*gradients, sums]

    def tree(replica, sent_as_factors):
        whole = factors(replica)
        columns = [tf.split(part, 4 // replicas) for part in whole]
        shards = [Factors(*pair) for pair in zip(*columns, strict=True)]
        given = shards if sent_as_factors else [shard.product(tf.float32) for shard in shards]
        gradients = [tree_reduction.of_shards(given), tf.ones([2])]
        gradients, sums = tree_reduction.summed(gradients, tf.ones([3]))
        return [*gradients, sums]

    def flags(change, scale=False):
        with strategy.scope():
            loss_scale = LossScale(dynamic=scale)

        def flag(replica):
            own = factors(replica)
            pairs = zip(change(*own), own, strict=True)
            changed = [tf.where(tf.equal(replica, 1), *pair) for pair in pairs]
            return reduction.not_finite([tf.ones([4]), Factors(*changed)], loss_scale)

        return [value.numpy().tolist() for value in each(flag)[0]]

    x, g = rows(1, INPUTS, "float64"), rows(2, UNITS, "float64")
    other, product, sums = each(by_factors)
    _, short, _ = each(lambda replica: by_factors(replica, tf.bfloat16))
    print(
        json.dumps(
            {
                "placed": bits(each(placed)[0]),
                "rows": rows(1, INPUTS, "float32").reshape(replicas, -1, INPUTS).tobytes().hex(),
                "product": [np.abs(value - x.T @ g).max() for value in product],
                "other": [value.numpy().tolist() for value in other],
                "sums": [value.numpy().tolist() for value in sums],
                "bfloat16": [np.abs(value - x.T @ g).max() for value in short],
                "tree": [[bits(v) for v in each(lambda r, f=f: tree(r, f))] for f in (True, False)],
                "finite": flags(lambda x, g: (x, g)),
                "nan": flags(lambda x, g: (x * np.nan, g)),
                "inf": flags(lambda x, g: (x, g + np.inf)),
                "overflow": flags(lambda x, g: (x * 1e30, g * 1e30)),
                "scaled": flags(lambda x, g: (x * np.nan, g), scale=True),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
