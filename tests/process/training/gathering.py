"""One worker of several that sum gradients by gathering; prints what it found, a line of JSON.

python gathering.py RANK HOST:PORT...
"""

import json
import os
import sys

from mnist_dist import train

INPUTS, UNITS, ROWS, STEPS = 5, 3, 4, 3


def given(rank, step):
    """A worker's gradients, float32: [7], and the factors [ROWS, INPUTS] and [ROWS, UNITS]."""
    import numpy as np

    generator = np.random.default_rng([rank, step])
    shapes = ((7,), (ROWS, INPUTS), (ROWS, UNITS))
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def main(rank, workers):
    with train.without_startup_messages():
        import tensorflow as tf

        from mnist_dist.training import reduction, tree_reduction
        from mnist_dist.training.reduction import Factors

    task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    # As the trainer does: TensorFlow would add a chain of sums in another order.
    tf.config.optimizer.set_experimental_options(
        {"arithmetic_optimization": False, "constant_folding": False}
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    steps = [given(rank, k) for k in range(STEPS)]
    own = [tf.constant(list(column)) for column in zip(*steps, strict=True)]

    def step(k, how):
        small, inputs, outputs = (tf.identity(values[k]) for values in own)
        sums = tf.reshape(tf.cast(rank + k, tf.float32), [1])
        if how == "tree":
            halves = zip(tf.split(inputs, 2), tf.split(outputs, 2), strict=True)
            factors = tree_reduction.of_shards([Factors(*half) for half in halves])
            found, sums = tree_reduction.summed([small, factors], sums, gather=True)
        else:
            factors = Factors(inputs, outputs)
            gather = how == "gather"
            found, sums = reduction.summed([small, factors], sums, tf.float32, gather)
        return tf.concat([tf.reshape(value, [-1]) for value in (*found, sums)], 0)

    @tf.function(autograph=True)
    def train_steps(how):
        """As the trainer does: a step after another within one graph."""
        found = tf.TensorArray(tf.float32, STEPS, element_shape=[7 + INPUTS * UNITS + 1])
        for k in tf.range(STEPS):
            found = found.write(k, strategy.run(step, args=(k, how)))
        return found.stack()

    hows = ("gather", "sum", "tree") if len(workers) == 2 else ("gather", "sum")
    print(json.dumps({how: train_steps(how).numpy().tolist() for how in hows}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
