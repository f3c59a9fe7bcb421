"""The exact score of a split: every example once, over all replicas and workers.

Each example's loss and prediction are brought together by its index, and the mean is taken over
that table in float64. So the number of replicas and the size of a batch change nothing but the
rounding of each loss, and an example that was missed or met twice is seen.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_dist.data import order, pipeline
from mnist_dist.data.split import Split
from mnist_dist.devices.placement import Placement
from mnist_dist.errors import RunError
from mnist_dist.training.steps import Steps

GLOBAL_ROWS = 1000
MISTAKES = 48


class Evaluation(NamedTuple):
    """A split's score.

    Attributes:
        loss: mean cross-entropy, in nats.
        accuracy: share of right predictions, 0..1.
        losses: float64 [examples].
        predictions: int32 [examples].
    """

    loss: float
    accuracy: float
    losses: np.ndarray
    predictions: np.ndarray

    def means(self) -> dict[str, float]:
        """Loss and accuracy by name."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    def worst(self, labels: np.ndarray) -> np.ndarray:
        """The wrong predictions of the largest losses, at most MISTAKES: int64 indices."""
        wrong = np.flatnonzero(self.predictions != labels)
        return wrong[np.argsort(-self.losses[wrong], kind="stable")][:MISTAKES].astype(np.int64)

    def save(self, path: Path, split: Split) -> None:
        """Writes all predictions and the gravest mistakes: docs/files.md has the schema."""
        gravest = self.worst(split.labels)
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                label=split.labels.astype(np.int32),
                prediction=self.predictions,
                loss=self.losses.astype(np.float32),
                mistake_index=gravest,
                mistake_image=split.images[gravest],
            )


def evaluate(steps: Steps, placement: Placement, split: Split, shards: int = 0) -> Evaluation:
    """Scores the network on a split.

    Args:
        steps: the network's.
        placement: which replicas are here.
        split: the images and labels.
        shards: the parts that a block is cut into, whatever the number of replicas is, so that
            the shapes don't depend on it; 0 for one part a replica.

    Raises:
        RunError: an example was scored by no replica or by two.
    """
    replicas, mine = placement.replicas, placement.local
    count = shards or replicas
    rows = order.rows_per_replica(GLOBAL_ROWS, 1, count)
    parts = [pipeline.eval_blocks(split, rows, replica, replicas, count) for replica in mine]
    size = len(split.labels)
    table = np.zeros((math.ceil(size / GLOBAL_ROWS) * GLOBAL_ROWS, 3), np.float64)
    for blocks in zip(*parts, strict=True):
        by_replica = dict(zip(mine, blocks, strict=True))
        scored = steps.score(placement.place(by_replica.__getitem__))
        for block, scores in zip(blocks, placement.results(scored), strict=True):
            for number, found in enumerate(scores.numpy()):
                first, real = int(block.first[0, number]), int(block.real[0, number])
                table[first : first + real, :2] += found[:real]
                table[first : first + real, 2] += 1.0
    # One replica of each worker hands in what the worker has; the sum is everybody's. The parts
    # are of one shape for all splits, so that their sum is traced once.
    nothing = np.zeros([GLOBAL_ROWS, 3])
    total = []
    for part in table.reshape(-1, GLOBAL_ROWS, 3):
        by_replica = {replica: part if replica == mine[0] else nothing for replica in mine}
        total.append(steps.merge(placement.place(by_replica.__getitem__)).numpy())
    losses, predictions, times = np.concatenate(total)[:size].T
    if not (times == 1.0).all():
        index = int(np.flatnonzero(times != 1.0)[0])
        raise RunError(f"evaluation: example {index} was scored {times[index]:.0f} times, not once")
    right = predictions.astype(np.int32) == split.labels
    return Evaluation(
        float(losses.mean()), float(right.mean()), losses, predictions.astype(np.int32)
    )
