"""Times the product that each replica forms of the factors of all replicas."""

import statistics
import time
from collections.abc import Callable

import tensorflow as tf

from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.training.reduce_plan import ReducePlan
from mnist_dist.training.reduction import Factors

CALLS, PRODUCTS = 5, 10  # calls of a graph, and products in each


def row_seconds(placement: ReplicaPlacement, plan: ReducePlan, wait: Callable[[], None]) -> float:
    """The median seconds of the products for one row, while all replicas form theirs.

    Args:
        placement: the replicas.
        plan: what is sent in a step.
        wait: returns when all workers have called it.
    """

    def products(before: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([before]):
            pairs = [
                Factors(tf.ones([plan.rows, inputs]), tf.ones([plan.rows, units]))
                for _, inputs, units in plan.factored
            ]
            found = [tf.identity(pair.product(tf.float32)) for pair in pairs]
        with tf.control_dependencies(found):
            return tf.zeros([])

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        last = tf.zeros([])
        for _ in range(PRODUCTS):
            last = placement.results(placement.strategy.run(products, args=(last,)))[0]
        return last

    taken = []
    for _ in range(1 + CALLS):  # the first one traces
        wait()
        started = time.perf_counter()
        run().numpy()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:]) / PRODUCTS / plan.rows
