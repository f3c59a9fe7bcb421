"""Writes the numbers of steps and evaluations to the console and to the run's files."""

import dataclasses

import numpy as np

from mnist_dist.data.order import Order
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import resources
from mnist_dist.run.console import Console
from mnist_dist.run.events import Events
from mnist_dist.training import bit_digest
from mnist_dist.training.evaluation import Evaluation, score_line
from mnist_dist.training.plan import Plan
from mnist_dist.training.step_records import StepRecord
from mnist_dist.training.steps import Steps


@dataclasses.dataclass(frozen=True)
class Reporter:
    """Its methods raise RunError if the disk is full or gone.

    Attributes:
        console: gets the notebook's lines.
        events: the run's files.
        plan: says which steps are logged.
        order: says in which epoch a step is.
        data: the images, for the pictures of mistakes.
        steps: the names of the trainable variables, and the loss scale.
        devices: the names of this worker's devices, whose memory is reported.
    """

    console: Console
    events: Events
    plan: Plan
    order: Order
    data: ImageData
    steps: Steps
    devices: tuple[str, ...]

    def step(self, record: StepRecord, rate: float) -> None:
        """Writes a training step's loss, accuracy and learning rate, if its step is logged."""
        epoch, batch = self.order.position(record.step)
        step, interval = record.step + 1, self.plan.log_interval
        if interval and batch % interval == 0:
            self.console.loss(batch, record.loss)
        if interval and step % interval == 0:
            self.events.train(step, epoch + 1, record.loss, record.accuracy, rate)
        if record.gradient_norm is not None:
            shown = {"loss": record.loss, "accuracy": record.accuracy, "learning_rate": rate}
            self.events.summary(step, {**shown, "gradient_norm": record.gradient_norm})

    def digests(self, step: int, digests: np.ndarray) -> None:
        """Writes the digests of gradients and weights after `step` global steps.

        Args:
            step: counts from 1.
            digests: int64 [2 * trainable variables]: of the gradients, then of the weights.
        """
        names = self.steps.trainable
        shown = [bit_digest.shown(int(digest)) for digest in digests]
        gradient, weights = shown[: len(names)], shown[len(names) :]
        by_name = (dict(zip(names, part, strict=True)) for part in (gradient, weights))
        self.events.digests(step, *by_name)

    def block(self, steps: range, seconds: float, waited: float, train_seconds: float) -> None:
        """Writes a block's speed and memory.

        Args:
            steps: the block's global steps, from 0.
            seconds: how long the block took.
            waited: seconds of them in which the block wasn't ready.
            train_seconds: the training time so far.
        """
        images = len(steps) * self.order.batch_size
        if self.plan.epoch_ended(steps.stop):  # its last batch may be smaller
            images -= self.plan.steps_per_epoch * self.order.batch_size - self.order.examples
        speed = {"images_per_s": images / seconds, "input_wait": waited / seconds}
        self.events.times(steps.stop, train_seconds)
        memory = resources.memory(self.devices)
        self.events.summary(steps.stop, speed | memory | self.steps.loss_scale)

    def score(self, split: str, score: Evaluation, step: int) -> None:
        """Writes a split's score after `step` global steps; of the test split pictures, too."""
        epoch = self.order.position(step - 1)[0] + 1
        self.events.evaluation(step, epoch, split, score.loss, score.accuracy)
        self.console.line(score_line(split, score.means()))
        if split == "test":
            test = self.data.test
            worst = score.worst(test.labels)
            self.events.pictures(
                step,
                test.labels,
                score.predictions,
                self.data.names,
                worst=(worst, test.images[worst], score.losses[worst]),
            )
