"""Compares bits that must be equal on all replicas and workers, while a run trains."""

import functools
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from mnist_dist.data.checking import Checking
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.training import bit_verdict
from mnist_dist.training.bit_digest import bit_digest
from mnist_dist.training.bit_kinds import Scope
from mnist_dist.training.bit_verdict import Suspect
from mnist_dist.training.repeated import MORE

Exchange: TypeAlias = Callable[[Any, Callable[[list[Any]], Any]], Any]
"""From this worker's value (JSON) and a function to that function's result on each worker; worker 0
calls it with all workers' values by rank."""


class BitChecks:
    """The comparisons of one run.

    With several replicas, each has its own copy of the weights and of the optimizer's state, and
    updates it from the same gradients. So all copies must stay equal.

    Attributes:
        scope: which replicas are compared.
    """

    def __init__(  # noqa: PLR0913
        self,
        placement: ReplicaPlacement,
        variables: Mapping[str, tf.Variable],
        kinds: Sequence[str],
        scope: Scope,
        exchange: Exchange,
        checking: Checking | None = None,
    ) -> None:
        """Args:
        placement: this worker's replicas.
        variables: name -> variable, of which each replica has a copy.
        kinds: the kind of hardware of each of this worker's replicas; replicas of one kind must
            have equal bits. Empty if no replica guarantees its bits.
        scope: which replicas are compared, the same on all workers.
        exchange: combines the workers' values.
        checking: which steps compute a part twice; None for none.
        """
        self._names = sorted(variables)
        self._variables = [variables[name] for name in self._names]
        self._placement, self._kinds, self._exchange = placement, kinds, exchange
        self.scope, self._checking = scope, checking
        # The partial is a function of its own, so that TensorFlow doesn't warn of a process's runs.
        self._digests = tf.function(functools.partial(self._all_digests), autograph=False)

    def compare_copies(self, step: int) -> bool:
        """Compares the replicas' copies of all variables.

        Args:
            step: global steps done.

        Returns:
            Whether there was something to compare.

        Raises:
            BitsDiffer: a copy differs; names step, layers, device and host.
        """
        if not self.scope.pairs:
            return False
        digests = [one.numpy().tolist() for one in self._placement.results(self._digests())]
        what = "the replicas' copies of weights or optimizer"
        self._judge(
            digests, lambda found: (0, bit_verdict.of_replicas(found)), self._names, what, [step]
        )
        return True

    def compare_steps(self, steps: range, checks: np.ndarray, trainable: Sequence[str]) -> int:
        """Compares what the checked steps of a block have computed twice.

        Args:
            steps: the block's, from 0.
            checks: int64 [K, replicas of this worker, 1 + opinions, variables + 2], the digests.
            trainable: the names of the variables.

        Returns:
            The number of steps that were compared.

        Raises:
            BitsDiffer: two computations differ; names step, layers, device and host.
        """
        checking = self._checking
        if checking is None or not (due := checking.due(steps)):
            return 0
        if checking.shards and self._placement.replicas > 1 and not self.scope.pairs:
            return 0  # all that was computed twice was computed on two kinds of hardware
        replicas = range(self._placement.replicas)
        owners = [[checking.owners(step, replica) for replica in replicas] for step in due]
        # From [step, replica, ...] to [replica, step, ...].
        digests = checks[[step - steps.start for step in due]].swapaxes(0, 1).tolist()
        what = "gradients that were computed twice"
        self._judge(
            digests,
            lambda found: bit_verdict.of_checks(found, owners),
            [*trainable, *MORE],
            what,
            [step + 1 for step in due],
        )
        return len(due)

    def _judge(
        self,
        digests: Any,
        judge: Callable[[list[Mapping[str, Any]]], tuple[int, list[Suspect]]],
        names: Sequence[str],
        what: str,
        steps: Sequence[int],
    ) -> None:
        """Raises BitsDiffer on all workers alike if there are suspects among all replicas.

        Args:
            digests: of this worker's replicas.
            judge: from the workers' reports to the index of a step, and the suspects.
            names: of the digested tensors, for the message.
            what: the kind of tensors that are compared, for the message.
            steps: global steps done.
        """
        report = {
            "host": socket.gethostname(),
            "devices": list(self._placement.devices),
            "kinds": list(self._kinds),
            "digests": digests,
        }

        def combine(reports: list[Mapping[str, Any]]) -> tuple[int, list[Suspect]]:
            index, suspects = judge(reports)
            return index, suspects[: bit_verdict.MOST_SUSPECTS]

        index, found = self._exchange(report, combine)
        if found:
            suspects = [Suspect(*one) for one in found]
            raise bit_verdict.failure(suspects, names, what, steps[index], self._placement.rank)

    def _all_digests(self) -> Any:
        """Per replica, int64 [variables]."""
        return self._placement.strategy.run(
            lambda: tf.stack([bit_digest(tf.identity(one)) for one in self._variables])
        )
