"""Compares bits that must be equal, between replicas and workers, while a run trains."""

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.training import bit_verdict
from mnist_dist.training.bit_digest import bit_digest
from mnist_dist.training.bit_verdict import Suspect

Exchange: TypeAlias = Callable[[Any, Callable[[list[Any]], Any]], Any]
"""From this worker's value (JSON) and a function to that function's result on each worker; worker 0
calls it with all workers' values by rank."""


class BitChecks:
    """The comparisons of one run.

    With several replicas, each has its own copy of the weights and of the optimizer's state, and
    updates it from the same gradients. So all copies must stay equal.
    """

    def __init__(
        self,
        placement: ReplicaPlacement,
        variables: Mapping[str, tf.Variable],
        kinds: Sequence[str],
        exchange: Exchange,
    ) -> None:
        """Args:
        placement: this worker's replicas.
        variables: name -> variable, of which each replica has a copy.
        kinds: of each of this worker's replicas: those of a kind must have equal bits. Empty if
            no replica promises any.
        exchange: combines the workers' values.
        """
        self._names = sorted(variables)
        self._variables = [variables[name] for name in self._names]
        self._placement, self._kinds, self._exchange = placement, kinds, exchange
        self._digests = tf.function(self._all_digests, autograph=False)

    def compare_copies(self, step: int) -> bool:
        """Compares the replicas' copies of all variables.

        Args:
            step: global steps done.

        Returns:
            Whether there was something to compare.

        Raises:
            BitsDiffer: a copy differs; names step, layers, device and host.
        """
        if self._placement.replicas == 1 or not self._kinds:
            return False
        digests = [one.numpy().tolist() for one in self._placement.results(self._digests())]
        suspects = self._agreed(digests, bit_verdict.of_replicas)
        if suspects:
            what = "the replicas' copies of weights or optimizer"
            raise bit_verdict.failure(suspects, self._names, what, step, self._placement.rank)
        return True

    def _agreed(
        self, digests: Any, judge: Callable[[list[Mapping[str, Any]]], list[Suspect]]
    ) -> list[Suspect]:
        """The suspects among all workers' replicas, the same on each worker."""
        report = {
            "host": socket.gethostname(),
            "devices": list(self._placement.devices),
            "kinds": list(self._kinds),
            "digests": digests,
        }
        found = self._exchange(report, lambda reports: judge(reports)[: bit_verdict.MOST_SUSPECTS])
        return [Suspect(*one) for one in found]

    def _all_digests(self) -> Any:
        """Per replica, int64 [variables]."""
        return self._placement.strategy.run(
            lambda: tf.stack([bit_digest(tf.identity(one)) for one in self._variables])
        )
