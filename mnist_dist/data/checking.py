"""Which part of a checked step is computed twice, and by which replicas."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

OPINIONS = 2
"""Replicas at most that compute a shard beside its owner, so that a majority can be right."""

STREAM = 0xB17
"""Keeps these draws apart from all others of the same seed."""


def workers_per_host(hosts: Sequence[str]) -> int:
    """The number of workers on each host.

    Args:
        hosts: of the workers, by rank.

    Returns:
        1 if all workers are on one host, or if the hosts don't have equal numbers of workers with
        consecutive ranks.
    """
    runs = [len(list(group)) for _, group in itertools.groupby(hosts)]
    consecutive = len(runs) == len(set(hosts))
    return runs[0] if len(runs) > 1 and consecutive and len(set(runs)) == 1 else 1


class Checking(NamedTuple):
    """The checks of --check_every_steps.

    Without shards, each replica computes its first micro-batch twice (a replay). With shards, it
    computes one shard of each of up to two other replicas (a buddy check), chosen anew at each
    check: on other hosts, or other workers if all are on one host, and then on other devices. A
    single replica computes its own shard again.

    Attributes:
        every: global steps between checks.
        seed: the run's.
        workers: of the run.
        devices: replicas of each worker.
        shards: of a replica that may be drawn, those of its first micro-batch; 0 for a replay.
        workers_per_host: of each of several hosts, on which the workers are by rank; otherwise 1.
    """

    every: int
    seed: int
    workers: int
    devices: int
    shards: int
    workers_per_host: int = 1

    @property
    def opinions(self) -> int:
        """How many shards each replica computes beside its own, or once more."""
        others = self.workers * self.devices - 1
        return min(OPINIONS, others) if self.shards and others else 1

    def due(self, steps: range) -> list[int]:
        """The checked steps among some, counted from 0: every `every`-th."""
        return [step for step in steps if (step + 1) % self.every == 0]

    def most_due(self, steps: int) -> int:
        """The most checked steps among so many in a row."""
        return -(-steps // self.every)

    def shard(self, step: int) -> int:
        """The shard that is checked at a step, by its index among its owner's."""
        return int(self._draw(step, 0).integers(self.shards)) if self.shards else 0

    def owners(self, step: int, replica: int) -> tuple[int, ...]:
        """The replicas whose shard `replica` computes at a step, `opinions` in number.

        Over all replicas, each one occurs `opinions` times.
        """
        hosts, size = self._hosts
        host, number = divmod(replica, size)
        return tuple(
            (host + by_hosts) % hosts * size + (number + by_numbers) % size
            for by_hosts, by_numbers in self._distances(step)
        )

    @property
    def _hosts(self) -> tuple[int, int]:
        """The number of hosts, or of workers on a single host; and the replicas of each."""
        return self.workers // self.workers_per_host, self.devices * self.workers_per_host

    def _distances(self, step: int) -> list[tuple[int, int]]:
        """How far the owners are, in hosts and in replicas within the host."""
        if not self.shards or self.workers * self.devices == 1:
            return [(0, 0)]
        hosts, size = self._hosts
        draw = self._draw(step, 1)
        others = 1 + draw.permutation(hosts - 1)
        on_others = [(int(host), int(draw.integers(size))) for host in others]
        on_own = [(0, int(number)) for number in 1 + draw.permutation(size - 1)]
        return [*on_others, *on_own][: self.opinions]

    def _draw(self, step: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox([self.seed, step, STREAM, stream]))
