"""This program's step with nothing around it: one resident batch, no input, no files, no log.

It is also who scores the test set for this program, and who writes the common initial weights.
"""

import sys
from typing import Any

import numpy as np

from benchmarks.contestants.turns import VALIDATION_IMAGES, Turns, first
from benchmarks.job import CHECKED_STEPS, Job
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.devices.startup_messages import without_startup_messages


class Program:
    """The program's parts, built as a run builds them.

    Args:
        job: what is asked.
        steps: of a block.
    """

    def __init__(self, job: Job, steps: int) -> None:
        with without_startup_messages():
            import tensorflow as tf

            from mnist_dist import assembly
            from mnist_dist.cluster import session, topology
        config = Config(
            no_gpu=True,
            batch_size=job.batch,
            precision=job.precision,
            dropout=job.dropout,
            **job.options.get("flags", {}),
        )
        self.data = sources.load("", "", VALIDATION_IMAGES)
        alone = topology.from_environment({}, "none")
        with session.join(assembly.wanted(config), assembly.terms(config), alone) as joined:
            self.placement = joined.placement
        made = assembly.assemble(config, self.data, joined.devices, block_steps=steps)
        self.state, self.steps = made.state, made.steps
        place = assembly.blocks(config, made.trainset, self.placement, joined.devices.kind)
        dtype = self.steps.dtype
        rates = tf.fill([steps], tf.constant(config.lr, dtype))
        self._numbers = range(steps)
        self._arguments = place(self._numbers), rates, tf.constant(steps), tf.zeros([], dtype)

    def train(self) -> np.ndarray:
        """Trains the block's steps; returns their losses."""
        from mnist_dist.training import step_records

        records = step_records.unpack(self.steps.train(*self._arguments).numpy(), self._numbers)
        return np.array([record.loss for record in records])

    def evaluate(self) -> list[float]:
        """Loss and accuracy on the test set."""
        from mnist_dist.training.evaluation import evaluate

        found = evaluate(self.steps, self.placement, self.data.test)
        return [found.loss, found.accuracy]

    def weights(self) -> dict[str, np.ndarray]:
        """Name -> value."""
        network = self.state.network
        return {name: variable.numpy() for name, variable in network.variables.items()}


def main(job: Job, turns: Turns) -> None:
    """Computes on until there are no more turns; or the first steps."""
    program = Program(job, CHECKED_STEPS if job.check else job.steps)
    turn: Any = program.evaluate if job.evaluate else program.train
    if job.options.get("write_weights"):
        arrays = {name.replace("/", "|"): value for name, value in program.weights().items()}
        np.savez(job.weights, **arrays)
        turns.say()
        return
    if job.check:
        turns.say(losses=first(turn()))
        return
    turn()
    while turns.over():
        turn()


if __name__ == "__main__":
    main(Job.from_json(sys.argv[1]), Turns())
