"""The outer loop: run a block of steps, log, evaluate, save, stop."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.checkpoint import Checkpoints
from mnist_dist.config import Config
from mnist_dist.console import Console
from mnist_dist.data.pipeline import Trainset, ahead
from mnist_dist.data.sources import ImageData
from mnist_dist.errors import RunError
from mnist_dist.evaluation import Evaluation, evaluate
from mnist_dist.events import SUMMARY_STEPS, Events
from mnist_dist.patience import Patience
from mnist_dist.placement import Placement
from mnist_dist.schedule import learning_rate
from mnist_dist.steps import Steps
from mnist_dist.stop import Stop


@dataclasses.dataclass
class Progress:
    """Where a run stands, apart from its variables; all of it is in the checkpoint.

    Attributes:
        step: global steps done.
        train_seconds: time in training, over all attempts; evaluations and saves don't count.
        scores: split -> loss and accuracy of the last evaluation.
        patience: what early stopping remembers.
        stopped: why the run is finished; empty while it isn't.
    """

    step: int = 0
    train_seconds: float = 0.0
    scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    patience: Patience = dataclasses.field(default_factory=Patience)
    stopped: str = ""


@dataclasses.dataclass(frozen=True)
class Loop:
    """One run's parts, put together: `run` trains until there is a reason to stop."""

    config: Config
    data: ImageData
    trainset: Trainset
    placement: Placement
    steps: Steps
    checkpoints: Checkpoints
    events: Events
    console: Console
    stop: Stop
    identity: dict[str, Any]
    where: str
    at_step: Callable[[int], None]

    @property
    def last_step(self) -> int:
        """Global steps after which the run is complete."""
        steps = self.config.epochs * self.trainset.order.steps_per_epoch
        return min(steps, self.config.max_steps) if self.config.max_steps else steps

    def epoch_ended(self, step: int) -> bool:
        """Whether the epoch is complete after `step` global steps."""
        return step % self.trainset.order.steps_per_epoch == 0

    def run(self, progress: Progress) -> str:
        """Trains on from `progress`, which is kept up to date.

        Returns:
            Why it stopped: completed, max_steps, patience or preempted.

        Raises:
            RunError: a loss that isn't finite, a full disk.
        """
        self.console.begin(progress.step, self.last_step, self.config.batch_size)
        while not progress.stopped:
            told = progress.step < self.last_step and self._train_epoch(progress)
            if told and not self._evaluation_due(progress.step):
                self.save(progress)
                return "preempted"
            self._evaluate_all(progress)
            waited = progress.patience.waited
            if self.config.patience and waited >= self.config.patience:
                progress.stopped = "patience"
            elif progress.step >= self.last_step:
                progress.stopped = self._completed()
            self.save(progress)
            if told and not progress.stopped:
                return "preempted"
        return progress.stopped

    def save(self, progress: Progress) -> None:
        """Brings the run's files and then a checkpoint to the disk.

        Raises:
            RunError: a weight that isn't finite: the step's update was too large.
        """
        for name, variable in self.checkpoints.variables.items():
            if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
                raise self._diverged(f"{name} isn't finite", progress.step)
        self.events.flush()
        best = progress.patience.best_step
        state = {"identity": self.identity, "best_step": best, **dataclasses.asdict(progress)}
        self.checkpoints.save(progress.step, state)

    def evaluate(self, split: str) -> Evaluation:
        """Scores the "validation" or "test" split, with the averaged weights if there are any."""
        self.steps.swap_averages()
        result = evaluate(self.steps, self.placement, getattr(self.data, split))
        self.steps.swap_averages()
        return result

    def _train_epoch(self, progress: Progress) -> bool:
        """Trains to the epoch's end, or the run's, or till a worker is told to stop: then True."""
        order = self.trainset.order
        epoch, _ = order.position(progress.step)
        end = min((epoch + 1) * order.steps_per_epoch, self.last_step)
        blocks = list(_blocks(progress.step, end, self.trainset.block_steps, self.config))
        told, started, epoch_seconds = False, time.monotonic(), 0.0
        for steps, block in ahead(self._block, blocks):
            told = self._train_block(steps, block)
            progress.step = steps.stop
            self.at_step(progress.step)
            now = time.monotonic()
            progress.train_seconds += now - started
            epoch_seconds += now - started
            self.events.times(progress.step, progress.train_seconds)
            if told and progress.step < end:
                return True
            every = self.config.checkpoint_every_steps
            if every and progress.step % every == 0 and progress.step < end:
                self.save(progress)
            started = time.monotonic()
        self.console.line(
            f"\nTrain time for epoch #{epoch + 1} (global step {progress.step}): {epoch_seconds:f}"
        )
        return told

    def _train_block(self, steps: range, block: Any) -> bool:
        """Runs and logs a block; True where a worker was told to stop before it began."""
        order, dtype = self.trainset.order, self.steps.dtype
        rates = np.zeros(self.trainset.block_steps)
        for k, step in enumerate(steps):
            rates[k] = learning_rate(self.config, step, order.steps_per_epoch)
        told = tf.constant(1.0 if self.stop.name else 0.0, dtype)
        records = self.steps.train(block, tf.constant(rates, dtype), tf.constant(len(steps)), told)
        values = records.numpy()[: len(steps)].astype(float)
        for step, (loss, accuracy, _), rate in zip(steps, values, rates, strict=False):
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss}", step + 1)
            self._log(step, loss, accuracy, rate)
        self.console.advance(len(steps), values[-1, 0])
        return bool(values[:, 2].any())

    def _log(self, step: int, loss: float, accuracy: float, rate: float) -> None:
        epoch, batch = self.trainset.order.position(step)
        interval = self.config.log_interval
        if interval and batch % interval == 0:
            self.console.line(f"Batch #{batch}\tLoss: {loss:.6f}")
        if interval and (step + 1) % interval == 0:
            self.events.train(step + 1, epoch + 1, loss, accuracy, float(rate))
        if (step + 1) % SUMMARY_STEPS == 0:
            self.events.summary(step + 1, loss, accuracy)

    def _evaluate_all(self, progress: Progress) -> None:
        epoch = self.trainset.order.position(progress.step - 1)[0] + 1
        for split in ("validation", "test"):
            if not len(getattr(self.data, split).labels):
                continue
            score = self.evaluate(split)
            if not math.isfinite(score.loss):
                raise self._diverged(f"the {split} loss is {score.loss}", progress.step)
            progress.scores[split] = score.means()
            self.events.evaluation(progress.step, epoch, split, score.loss, score.accuracy)
            self.console.line(score_line(split, progress.scores[split]))
        if self.config.patience and self.epoch_ended(progress.step):
            progress.patience.look(self.config, progress.step, progress.scores["validation"])

    def _evaluation_due(self, step: int) -> bool:
        return step >= self.last_step or self.epoch_ended(step)

    def _diverged(self, what: str, step: int) -> RunError:
        return RunError(
            f"{self.where}: {what} at step {step}, and nothing was saved since; "
            "lower --lr, or warm it up with --warmup_steps"
        )

    def _completed(self) -> str:
        whole = self.config.epochs * self.trainset.order.steps_per_epoch
        return "completed" if self.last_step == whole else "max_steps"

    def _block(self, steps: range) -> Any:
        return self.placement.place(lambda replica: self.trainset.block(steps, replica))


def score_line(split: str, score: dict[str, float]) -> str:
    """The notebook's line for the test set, and the same for the validation set."""
    name = {"test": "Test set", "validation": "Validation set"}[split]
    return f"{name}: Average loss: {score['loss']:.4f}, Accuracy: {100 * score['accuracy']:4f}%\n"


def _blocks(first: int, end: int, size: int, config: Config) -> Iterator[range]:
    """Cuts the steps up to `end` so that a checkpoint that is due is at a block's end."""
    every = config.checkpoint_every_steps or end
    while first < end:
        last = min(end, (first // size + 1) * size, (first // every + 1) * every)
        yield range(first, last)
        first = last
