"""The outer loop: run a block of steps, log, evaluate, save, stop."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from mnist_dist.data.device_blocks import Blocks
from mnist_dist.data.pipeline import Trainset, prefetched
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import resources
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.run.bar import Pace
from mnist_dist.run.checkpoint import Checkpoints
from mnist_dist.run.console import Console
from mnist_dist.run.events import Events
from mnist_dist.run.tensorboard import SUMMARY_STEPS
from mnist_dist.run.trace import Trace
from mnist_dist.training.diverged import batch_of, diverged
from mnist_dist.training.early_stopping import EarlyStopping
from mnist_dist.training.evaluation import Evaluation, evaluate, on_any_worker
from mnist_dist.training.plan import Plan
from mnist_dist.training.progress import Progress
from mnist_dist.training.save_deadline import SaveDeadlineCheck
from mnist_dist.training.schedule import LearningRateSchedule
from mnist_dist.training.steps import Steps
from mnist_dist.training.stop import Stop

PrefetchedBlocks: TypeAlias = Generator[tuple[range, Any]]
"""Prefetched (steps, block) pairs."""


class Files(NamedTuple):
    """What a run leaves on the disk and says."""

    checkpoints: Checkpoints
    events: Events
    console: Console
    trace: Trace


@dataclasses.dataclass(frozen=True)
class Loop:
    """One run's parts, put together: `run` trains until there is a reason to stop."""

    plan: Plan
    course: LearningRateSchedule
    patience: EarlyStopping
    data: ImageData
    trainset: Trainset
    placement: ReplicaPlacement
    steps: Steps
    files: Files
    stop: Stop
    lead: SaveDeadlineCheck
    identity: dict[str, Any]
    origin: dict[str, Any]
    arithmetic: dict[str, str]
    worker_name: str
    report_step: Callable[[int], None]
    blocks: Blocks

    def run(self, progress: Progress) -> tuple[str, Evaluation | None]:
        """Trains on from `progress`, which is kept up to date.

        Returns:
            Why it stopped: completed, max_steps, patience or preempted. And the test set's score
            by the weights as they are then; None where there was none since the last step.

        Raises:
            RunError: a loss that isn't finite, a full disk.
        """
        scored = len(self.data.validation.labels) + len(self.data.test.labels)
        size, per_epoch = self.trainset.order.batch_size, self.plan.steps_per_epoch
        self.files.console.begin(Pace(progress.step, self.plan.last_step, size, per_epoch, scored))
        made = prefetched(self.blocks, self.plan.blocks(progress.step))
        with contextlib.closing(made), contextlib.closing(self.files.trace):
            return self._run(progress, made)

    def _run(self, progress: Progress, blocks: PrefetchedBlocks) -> tuple[str, Evaluation | None]:
        test = None
        while not progress.stopped:
            test = None
            told = progress.step < self.plan.last_step and self._train_epoch(progress, blocks)
            if told and not self.plan.evaluation_due(progress.step):
                self.save(progress)
                break
            test = self._evaluate_all(progress)
            told = told or on_any_worker(self.steps, self.placement, bool(self.stop.name))
            if self.patience.epochs and progress.patience.waited >= self.patience.epochs:
                progress.stopped = "patience"
            elif progress.step >= self.plan.last_step:
                progress.stopped = self.plan.ending
            self.save(progress)
            if told and not progress.stopped:
                break
        with self._saving():
            self.files.checkpoints.wait()
        return progress.stopped or "preempted", test

    def save(self, progress: Progress) -> None:
        """Has the run's files and then a checkpoint brought to the disk while training goes on.

        Raises:
            RunError: a weight that isn't finite: the step's update was too large; or the save
                before this one failed.
        """
        for name, variable in self.files.checkpoints.variables.items():
            if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
                batch = batch_of(progress.step - 1, self.trainset, self.placement)
                raise diverged(self.worker_name, f"{name} isn't finite", progress.step, batch)
        events = self.files.events
        events.flush()
        state = {
            "identity": self.identity,
            "origin": self.origin,
            "arithmetic": self.arithmetic,
            "best_step": progress.patience.best_step,
            **dataclasses.asdict(progress),
            "written": events.written(progress.step, self.plan.epoch_ended(progress.step)),
        }
        with self._saving():
            self.files.checkpoints.save(progress.step, state, sync=events.sync)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        with self.files.console.doing("saving"), self.stop.during("a save"):
            yield

    def evaluate(self, split: str) -> Evaluation:
        """Scores the "validation" or "test" split, with the averaged weights if there are any."""
        doing = self.files.console.doing(f"evaluating {split}")
        with doing, self.stop.during("an evaluation"):
            self.steps.swap_averages()
            shards = self.trainset.shards
            result = evaluate(self.steps, self.placement, getattr(self.data, split), shards)
            self.steps.swap_averages()
        return result

    def _train_epoch(self, progress: Progress, blocks: PrefetchedBlocks) -> bool:
        """Trains to the epoch's end, or the run's, or till a worker is told to stop: then True."""
        epoch, _ = self.trainset.order.position(progress.step)
        told, started, epoch_seconds = False, time.monotonic(), 0.0
        for steps, block in blocks:
            waited = time.monotonic() - started
            self.files.trace.at(steps.start)
            told = self._train_block(steps, block)
            progress.step = steps.stop
            self.files.trace.at(steps.stop)
            self.report_step(progress.step)
            now = time.monotonic()
            progress.train_seconds += now - started
            epoch_seconds += now - started
            self.files.events.times(progress.step, progress.train_seconds)
            self.files.events.summary(progress.step, self._speed(steps, now - started, waited))
            if told and not self.plan.evaluation_due(progress.step):
                return True
            self.files.checkpoints.poll()
            self.lead.look(now - started, self.files.checkpoints.took_s)
            if self.plan.evaluation_due(progress.step):
                break
            if self.plan.save_due(progress.step, self.files.checkpoints.age_s()):
                self.save(progress)
            started = time.monotonic()
        self.files.console.line(
            f"\nTrain time for epoch #{epoch + 1} (global step {progress.step}): {epoch_seconds:f}"
        )
        return told

    def _train_block(self, steps: range, block: Any) -> bool:
        """Runs and logs a block; True where a worker was told to stop before it began."""
        dtype = self.steps.dtype
        rates = np.zeros(self.trainset.block_steps)
        rates[: len(steps)] = [self.course.rate(step) for step in steps]
        told = tf.constant(1.0 if self.stop.name else 0.0, dtype)
        records = self.steps.train(block, tf.constant(rates, dtype), tf.constant(len(steps)), told)
        values = records.numpy()[: len(steps)].astype(float)
        for step, value, rate in zip(steps, values, rates, strict=False):
            loss, accuracy, _, *unfit, norm = value
            if not math.isfinite(loss) or any(unfit):
                finite = math.isfinite(loss)
                what = "a gradient isn't finite" if finite else f"the loss is {loss}"
                where = [replica for replica, bad in enumerate(unfit) if bad]
                batch = batch_of(step, self.trainset, self.placement, where)
                raise diverged(self.worker_name, what, step + 1, batch)
            self._log(step, loss, accuracy, rate)
            if (step + 1) % SUMMARY_STEPS == 0:
                shown = {"loss": loss, "accuracy": accuracy, "learning_rate": rate}
                self.files.events.summary(step + 1, {**shown, "gradient_norm": norm})
        self.files.console.advance(len(steps), values[-1, 0])
        return bool(values[:, 2].any())

    def _log(self, step: int, loss: float, accuracy: float, rate: float) -> None:
        epoch, batch = self.trainset.order.position(step)
        interval = self.plan.log_interval
        if interval and batch % interval == 0:
            self.files.console.loss(batch, loss)
        if interval and (step + 1) % interval == 0:
            self.files.events.train(step + 1, epoch + 1, loss, accuracy, float(rate))

    def _speed(self, steps: range, seconds: float, waited: float) -> dict[str, float]:
        """What a block's computation took, for TensorBoard."""
        order = self.trainset.order
        images = len(steps) * order.batch_size
        if self.plan.epoch_ended(steps.stop):  # its last batch may be smaller
            images -= self.plan.steps_per_epoch * order.batch_size - order.examples
        speed = {"images_per_s": images / seconds, "input_wait": waited / seconds}
        return speed | resources.memory(self.placement.devices) | self.steps.loss_scale

    def _evaluate_all(self, progress: Progress) -> Evaluation:
        """The validation set's score, if there is one, and the test set's, which is returned."""
        epoch = self.trainset.order.position(progress.step - 1)[0] + 1
        for split in ("validation", "test"):
            if not len(getattr(self.data, split).labels):
                continue
            score = self.evaluate(split)
            if not math.isfinite(score.loss):
                raise diverged(self.worker_name, f"the {split} loss is {score.loss}", progress.step)
            progress.scores[split] = score.means()
            self.files.events.evaluation(progress.step, epoch, split, score.loss, score.accuracy)
            self.files.console.line(score_line(split, progress.scores[split]))
            if split == "test":
                self._show(score, progress.step)
        if self.patience.epochs and self.plan.epoch_ended(progress.step):
            progress.patience.look(self.patience, progress.step, progress.scores["validation"])
        return score

    def _show(self, score: Evaluation, step: int) -> None:
        test = self.data.test
        worst = score.worst(test.labels)
        self.files.events.pictures(
            step,
            test.labels,
            score.predictions,
            self.data.num_classes,
            worst=(worst, test.images[worst], score.losses[worst]),
        )


def score_line(split: str, score: dict[str, float]) -> str:
    """The notebook's line for the test set, and the same for the validation set."""
    name = {"test": "Test set", "validation": "Validation set"}[split]
    return f"{name}: Average loss: {score['loss']:.4f}, Accuracy: {100 * score['accuracy']:4f}%\n"
