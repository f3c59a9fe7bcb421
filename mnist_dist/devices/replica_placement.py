"""Which replicas this worker has, and the transfer of their data to their devices."""

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
        """Calls `make` for each of this worker's replicas and puts the result on its device."""

        def value(context: tf.distribute.experimental.ValueContext) -> Any:
            replica = context.replica_id_in_sync_group
            with tf.device(self.devices[replica % len(self.devices)]):
                return tf.nest.map_structure(tf.identity, make(replica))

        return self.strategy.experimental_distribute_values_from_function(value)

    def results(self, value: Any) -> tuple[tf.Tensor, ...]:
        """The values of this worker's replicas in a distributed value, in the order of `local`."""
        return self.strategy.experimental_local_results(value)
