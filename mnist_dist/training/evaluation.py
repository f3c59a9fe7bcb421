"""The exact score of a split: every example counts once, over all replicas and workers.

A table collects each example's loss and prediction by the example's index; the mean is taken over
the table in float64. So the number of replicas and the batch size change only the rounding of each
loss, and an example that is scored twice or not at all is detected.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnist_dist.data import order, pipeline
from mnist_dist.data.split import Split
from mnist_dist.devices.replica_placement import ReplicaPlacement
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
        """Writes all predictions and the worst mistakes; docs/files.md has the schema."""
        worst = self.worst(split.labels)
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                label=split.labels.astype(np.int32),
                prediction=self.predictions,
                loss=self.losses.astype(np.float32),
                mistake_index=worst,
                mistake_image=split.images[worst],
            )


def evaluate(
    steps: Steps, placement: ReplicaPlacement, split: Split, shards: int = 0
) -> Evaluation:
    """Scores the network on a split.

    Args:
        steps: the network's steps.
        placement: this worker's replicas.
        split: the images and labels.
        shards: slices of a block on any number of replicas, so that shapes don't depend on that
            number; 0 for one slice a replica.

    Raises:
        RunError: an example was scored by no replica or by two.
    """
    replicas, local = placement.replicas, placement.local
    count = shards or replicas
    rows = order.rows_per_replica(GLOBAL_ROWS, 1, count)
    streams = [pipeline.eval_blocks(split, rows, replica, replicas, count) for replica in local]
    size = len(split.labels)
    table = np.zeros((math.ceil(size / GLOBAL_ROWS) * GLOBAL_ROWS, 3), np.float64)

    def place(blocks: tuple[pipeline.Block, ...]) -> Any:
        return placement.place(dict(zip(local, blocks, strict=True)).__getitem__)

    pending = []
    for blocks, placed in pipeline.prefetched(place, zip(*streams, strict=True)):
        slices = [zip(block.first[0], block.real[0], strict=True) for block in blocks]
        pending.append((slices, steps.score(placed)))
    for slices, scored in pending:  # results are read once a GPU has all of its work
        for own_slices, scores in zip(slices, placement.results(scored), strict=True):
            for (first, real), found in zip(own_slices, scores.numpy(), strict=True):
                table[first : first + real, :2] += found[:real]
                table[first : first + real, 2] += 1.0
    if len(local) < replicas:
        table = _merged(steps, placement, table)
    losses, predictions, times = table[:size].T
    if not (times == 1.0).all():
        index = int(np.flatnonzero(times != 1.0)[0])
        raise RunError(f"evaluation: example {index} was scored {times[index]:.0f} times, not once")
    right = predictions.astype(np.int32) == split.labels
    return Evaluation(
        float(losses.mean()), float(right.mean()), losses, predictions.astype(np.int32)
    )


def on_any_worker(steps: Steps, placement: ReplicaPlacement, value: bool) -> bool:
    """Whether `value` is true on any worker. All workers call it together and get one answer."""
    if len(placement.local) == placement.replicas:
        return value
    return bool(_merged(steps, placement, np.full([GLOBAL_ROWS, 3], float(value))).any())


def _merged(steps: Steps, placement: ReplicaPlacement, table: np.ndarray) -> np.ndarray:
    """The sum of all workers' tables; on each worker one replica holds the worker's table.

    It is summed in chunks of one shape for all splits, so that the sum is traced once.
    """
    zeros = np.zeros([GLOBAL_ROWS, 3])
    total = []
    for chunk in table.reshape(-1, GLOBAL_ROWS, 3):
        by_replica = dict.fromkeys(placement.local, zeros) | {placement.local[0]: chunk}
        total.append(steps.merge(placement.place(by_replica.__getitem__)).numpy())
    return np.concatenate(total)


def score_line(split: str, score: dict[str, float]) -> str:
    """The notebook's line for the test set; the validation set has one of the same form."""
    name = {"test": "Test set", "validation": "Validation set"}[split]
    return f"{name}: Average loss: {score['loss']:.4f}, Accuracy: {100 * score['accuracy']:4f}%\n"
