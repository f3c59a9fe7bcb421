"""What it costs to sum a vector over all replicas, as the gradients are summed."""

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
MOST_TIMES, BYTES = 10, 2**24  # all-reduces in a call: that many, or less where it is more bytes


def seconds(placement: ReplicaPlacement, sizes_bytes: Sequence[int]) -> list[float]:
    """The median time of an all-reduce of each size; all workers call it alike.

    Several follow one another in one call of a graph, as in training: what a call costs would
    else count as latency.

    Args:
        placement: the replicas.
        sizes_bytes: of the vectors, in float32.

    Raises:
        RunError: TensorFlow failed, or summed wrongly.
    """

    def total(part: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([before]):
            here = tf.identity(part)  # on the replica's device, which a graph's argument isn't
        summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)
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
        times, taken = max(1, min(MOST_TIMES, BYTES // size)), []
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
