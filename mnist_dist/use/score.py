"""A network's score on a split, with its standard errors and its confusion matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.data.sources import ImageData
from mnist_dist.data.split import Split
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import UsageError
from mnist_dist.training.evaluation import Evaluation, evaluate
from mnist_dist.training.steps import Steps
from mnist_dist.use.model import Model


class _Sequential:
    """Stands in for the run's replicas: one device scores their blocks one after another.

    Rounding depends on the shape of a block, and each block has the shape that it had in the run.
    So the losses are those of the run, whatever devices it was trained on.
    """

    def __init__(self, steps: Steps, placement: ReplicaPlacement, replicas: int) -> None:
        self._steps, self._placement = steps, placement
        self.replicas = replicas
        self.local = list(range(replicas))

    def place(self, make: Callable[[int], Any]) -> list[Any]:
        def one(replica: int) -> Any:
            return self._placement.place(lambda _: make(replica))

        return [one(replica) for replica in self.local]

    def results(self, values: list[Any]) -> list[tf.Tensor]:
        return [tensor for value in values for tensor in self._placement.results(value)]

    def score(self, blocks: list[Any]) -> list[Any]:
        return [self._steps.score(block) for block in blocks]


def score(model: Model, placement: ReplicaPlacement, split: Split) -> Evaluation:
    """Scores a network as its run did, to the last digit on the same kind of device."""
    run = model.origin
    steps = Steps(placement.strategy, model.state, assembly.settings(run.config), model.tta)
    replicas = cast(Any, _Sequential(steps, placement, run.replicas))
    return evaluate(replicas, replicas, split, run.config.shards)


def check_fits(model: Model, data: ImageData) -> None:
    """Raises UsageError where the network can't be scored on the data."""
    shape = data.train.images.shape[1:]
    if shape != model.image_shape:
        raise UsageError(
            f"{data.source}: images of {_by(shape)}, and the run's are {_by(model.image_shape)}; "
            "give a set of that size"
        )
    if data.num_classes != model.num_classes:
        raise UsageError(
            f"{data.source}: {data.num_classes} classes, and the run has {model.num_classes}; "
            "give a set with the same classes"
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


class Scores(NamedTuple):
    """A split's score.

    Attributes:
        examples: number of examples.
        loss: mean cross-entropy, in nats.
        loss_error: its standard error: the losses' standard deviation by the root of their number.
        accuracy: share of right predictions, 0..1.
        accuracy_error: its standard error, the binomial one.
        confusion: int64 [classes, classes], how often each label (row) got each prediction.
    """

    examples: int
    loss: float
    loss_error: float
    accuracy: float
    accuracy_error: float
    confusion: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Share of a class's predictions that are right: float64 [classes], nan without any."""
        return _share(np.diag(self.confusion), self.confusion.sum(0))

    @property
    def recall(self) -> np.ndarray:
        """Share of a class's images that are found: float64 [classes], nan without any."""
        return _share(np.diag(self.confusion), self.confusion.sum(1))


def summary(found: Evaluation, labels: np.ndarray, num_classes: int) -> Scores:
    """The score of an evaluation.

    Args:
        found: the evaluation.
        labels: int [examples].
        num_classes: labels are from 0 to this, exclusive.
    """
    size = len(labels)
    pairs = labels.astype(np.int64) * num_classes + found.predictions
    counts = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    deviation = float(found.losses.std(ddof=1)) if size > 1 else float("nan")
    return Scores(
        examples=size,
        loss=found.loss,
        loss_error=deviation / size**0.5,
        accuracy=found.accuracy,
        accuracy_error=(found.accuracy * (1.0 - found.accuracy) / size) ** 0.5,
        confusion=counts,
    )


def _share(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    share = np.full(len(counts), np.nan)
    np.divide(counts, totals, out=share, where=totals > 0)
    return share
