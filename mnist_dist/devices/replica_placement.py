"""Which replicas this worker has, and how their data gets onto their devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class ReplicaPlacement(NamedTuple):
    """The replicas of one worker.

    Attributes:
        strategy: TensorFlow's strategy over all replicas of all workers.
        devices: this worker's devices, one for each of its replicas.
        rank: this worker's number.
    """

    strategy: tf.distribute.Strategy
    devices: tuple[str, ...]
    rank: int

    @property
    def replicas(self) -> int:
        """Replicas over all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def local(self) -> list[int]:
        """The numbers of this worker's replicas."""
        first = self.rank * len(self.devices)
        return list(range(first, first + len(self.devices)))

    def place(self, make: Callable[[int], Any]) -> Any:
        """What `make` gives for each of this worker's replicas, on that replica's device."""

        def value(context: tf.distribute.experimental.ValueContext) -> Any:
            replica = context.replica_id_in_sync_group
            with tf.device(self.devices[replica % len(self.devices)]):
                return tf.nest.map_structure(tf.identity, make(replica))

        return self.strategy.experimental_distribute_values_from_function(value)

    def results(self, value: Any) -> tuple[tf.Tensor, ...]:
        """A distributed value's parts on this worker, in the order of `local`."""
        return self.strategy.experimental_local_results(value)
