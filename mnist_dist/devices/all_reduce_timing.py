"""Times the sum of a vector over all replicas, made as the gradients' sum is made."""

import functools
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import RunError

CALLS = 5
MOST_TIMES, MOST_BYTES = 10, 2**24  # all-reduces in a call, and their bytes


def seconds(placement: ReplicaPlacement, sizes_bytes: Sequence[int]) -> list[float]:
    """The median time of an all-reduce of each size; all workers have to call it.

    One call of a graph makes several, as in training, so that the cost of the call isn't counted as
    latency.

    Args:
        placement: the replicas.
        sizes_bytes: the sizes of the float32 vectors.

    Raises:
        RunError: TensorFlow failed, or summed wrongly.
    """

    def total(own: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([before]):
            local = tf.identity(own)  # on the replica's device; a graph's argument isn't there
        summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, local)
        return summed[0]

    @tf.function(reduce_retracing=True, autograph=True)  # for its loop
    def run(value: Any, times: tf.Tensor) -> tf.Tensor:
        last = tf.zeros([])
        for _ in tf.range(times):
            last = placement.results(placement.strategy.run(total, args=(value, last)))[0]
        return last

    medians = []
    for size in sizes_bytes:
        ones = np.ones(size // 4, np.float32)
        value = placement.place(functools.partial(_constant, ones))
        times, taken = max(1, min(MOST_TIMES, MOST_BYTES // size)), []
        for count in (1, *[times] * CALLS):  # the first one connects and traces
            started = time.perf_counter()
            try:
                result = run(value, tf.constant(count)).numpy()
            except tf.errors.OpError as error:
                reason = " ".join(error.message.split())[:500]
                raise RunError(f"all-reduce of {size} bytes: {reason}") from error
            taken.append((time.perf_counter() - started) / count)
        if result != placement.replicas:
            raise RunError(f"the sum of {placement.replicas} ones over the replicas is {result}")
        medians.append(statistics.median(taken[1:]))
    return medians


def _constant(value: np.ndarray, _replica: int) -> tf.Tensor:
    return tf.constant(value)
