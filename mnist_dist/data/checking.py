"""Which part of a checked step is computed twice, and by which replicas."""

from typing import NamedTuple

import numpy as np

OPINIONS = 2
"""Replicas at most that compute a shard beside its owner, so that a majority can be right."""

STREAM = 0xB17
"""Keeps these draws apart from all others of the same seed."""


class Checking(NamedTuple):
    """The checks of --check_every_steps.

    Without shards, each replica computes its first micro-batch twice (a replay). With shards, it
    computes one shard of each of up to two other replicas (a buddy check), chosen anew at each
    check: on other workers, if there are any, otherwise on other devices. A single replica
    computes its own shard again.

    Attributes:
        every: global steps between checks.
        seed: the run's.
        workers: of the run.
        devices: replicas of each worker.
        shards: of a replica that may be drawn, those of its first micro-batch; 0 for a replay.
    """

    every: int
    seed: int
    workers: int
    devices: int
    shards: int

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
        worker, device = divmod(replica, self.devices)
        return tuple(
            (worker + by_workers) % self.workers * self.devices
            + (device + by_devices) % self.devices
            for by_workers, by_devices in self._distances(step)
        )

    def _distances(self, step: int) -> list[tuple[int, int]]:
        """How far the owners are, in workers and devices."""
        if not self.shards or self.workers * self.devices == 1:
            return [(0, 0)]
        draw = self._draw(step, 1)
        others = 1 + draw.permutation(self.workers - 1)
        on_others = [(int(worker), int(draw.integers(self.devices))) for worker in others]
        on_own = [(0, int(device)) for device in 1 + draw.permutation(self.devices - 1)]
        return [*on_others, *on_own][: self.opinions]

    def _draw(self, step: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox([self.seed, step, STREAM, stream]))
