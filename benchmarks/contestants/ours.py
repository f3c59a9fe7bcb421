"""This program as its users run it: `train.run`, held at the border of a block between turns.

Alone, or one of several workers. Everything that a run does counts: input, log lines, files.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.contestants.turns import Turns, first
from benchmarks.job import CHECKED_STEPS, Job
from mnist_dist import train
from mnist_dist.cluster.topology import TOKEN
from mnist_dist.config import Config
from mnist_dist.training.stop import Stop


class Turnstile(Stop):
    """A Stop whose name the loop reads before each block, and here waits for its next turn.

    Args:
        blocks: of a turn.
        over: called when a turn is over; tells whether there is another one.
        workers: how many this process is one of.
    """

    def __init__(self, blocks: int, over: Callable[[], bool], workers: int) -> None:
        super().__init__()
        self._blocks, self._left = blocks, blocks
        self._over, self._workers = over, workers

    @property
    def signal_name(self) -> str:
        """Empty as long as there are turns."""
        if not self._training():
            return ""
        if not self._left:
            if not self._over():
                return "the benchmark's end"
            self._left = self._blocks
        self._left -= 1
        return ""

    @signal_name.setter
    def signal_name(self, value: str) -> None:
        """No signal is listened for."""

    def _training(self) -> bool:
        """Not while this worker waits for the others, when a name is looked for, too."""
        if self._workers == 1:
            return True
        from mnist_dist.devices import tensorflow_private

        return tensorflow_private.is_worker()


def main(job: Job, turns: Turns) -> None:
    """Trains until there are no more turns; or the first steps."""
    block_steps = job.options.get("block_steps", job.steps)
    environment, workers = dict(os.environ), len(job.ports)
    folder = Path(tempfile.mkdtemp())  # in a folder that the contest removes
    if workers > 1:
        addresses = [f"localhost:{port}" for port in job.ports]
        task = {"type": "worker", "index": job.rank}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment[TOKEN] = "-".join(map(str, job.ports))
        folder = folder.parent / environment[TOKEN]  # one for all workers
    config = Config(
        no_gpu=True,
        batch_size=job.batch,
        precision=job.precision,
        dropout=job.dropout,
        epochs=1000,
        steps_per_loop=1 if job.check else block_steps,
        log_interval=1 if job.check else 10,
        run_dir=str(folder),
        **job.options.get("flags", {}),
    )
    if not job.check:
        train.run(config, environment, Turnstile(job.steps // block_steps, turns.over, workers))
        return
    train.run(config, environment, Turnstile(CHECKED_STEPS, lambda: False, workers))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    turns.say(losses=first([row["loss"] for row in rows if row["split"] == "train"]))


if __name__ == "__main__":
    main(Job.from_json(sys.argv[1]), Turns())
