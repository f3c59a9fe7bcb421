"""The outer loop: run a block of steps, log, evaluate, save, stop."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from mnist_dist.data.device_blocks import Blocks
from mnist_dist.data.pipeline import Trainset, prefetched
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.run.bar import Pace
from mnist_dist.run.checkpoint import Checkpoints
from mnist_dist.run.console import Console
from mnist_dist.run.events import Events
from mnist_dist.run.trace import Trace
from mnist_dist.training import step_records
from mnist_dist.training.bit_checks import BitChecks
from mnist_dist.training.diverged import check_step, check_weights, diverged
from mnist_dist.training.early_stopping import EarlyStopping
from mnist_dist.training.evaluation import Evaluation, evaluate, on_any_worker
from mnist_dist.training.plan import Plan
from mnist_dist.training.progress import Progress
from mnist_dist.training.reporter import Reporter
from mnist_dist.training.save_deadline import SaveDeadlineCheck
from mnist_dist.training.schedule import LearningRateSchedule
from mnist_dist.training.steps import Steps
from mnist_dist.training.stop import Stop

PrefetchedBlocks: TypeAlias = Generator[tuple[range, Any]]
"""Prefetched (steps, block) pairs."""


class Files(NamedTuple):
    """A run's output: checkpoints, events, console and trace."""

    checkpoints: Checkpoints
    events: Events
    console: Console
    trace: Trace


@dataclasses.dataclass(frozen=True)
class Loop:
    """Everything that one run works with. `run` trains until there is a reason to stop.

    Attributes:
        identity: what decides the run's numbers.
        origin: what a checkpoint records of its run.
        kernels: what decides the last bits besides the flags.
        worker_name: this worker and its host, for messages.
        report_step: reports progress to the other workers.
        bit_checks: compares what must be equal on all replicas.
        blocks: makes the block of a range of steps on the devices.
        digest_every_steps: global steps between lines of digests.jsonl; 0 for none.
    """

    plan: Plan
    schedule: LearningRateSchedule
    early_stopping: EarlyStopping
    data: ImageData
    trainset: Trainset
    placement: ReplicaPlacement
    steps: Steps
    files: Files
    stop: Stop
    save_deadline: SaveDeadlineCheck
    identity: dict[str, Any]
    origin: dict[str, Any]
    kernels: dict[str, str]
    worker_name: str
    report_step: Callable[[int], None]
    bit_checks: BitChecks
    blocks: Blocks
    digest_every_steps: int = 0

    @functools.cached_property
    def _reporter(self) -> Reporter:
        console, events = self.files.console, self.files.events
        order, devices = self.trainset.order, self.placement.devices
        return Reporter(console, events, self.plan, order, self.data, self.steps, devices)

    def run(self, progress: Progress) -> tuple[str, Evaluation | None]:
        """Continues training from `progress` and updates it.

        Returns:
            Why training stopped: completed, max_steps, patience or preempted; and the test score
            of the final weights, or None if the test set wasn't scored after the last step.

        Raises:
            RunError: a loss that isn't finite, a full disk.
        """
        scored = len(self.data.validation.labels) + len(self.data.test.labels)
        size, per_epoch = self.trainset.order.batch_size, self.plan.steps_per_epoch
        self.files.console.begin(Pace(progress.step, self.plan.last_step, size, per_epoch, scored))
        blocks = prefetched(self.blocks, self.plan.blocks(progress.step))
        with contextlib.closing(blocks), contextlib.closing(self.files.trace):
            return self._run(progress, blocks)

    def _run(self, progress: Progress, blocks: PrefetchedBlocks) -> tuple[str, Evaluation | None]:
        test = None
        while not progress.stopped:
            test = None
            more = progress.step < self.plan.last_step
            stop_requested = more and self._train_epoch(progress, blocks)
            if stop_requested and not self.plan.evaluation_due(progress.step):
                self.save(progress)
                break
            test = self._evaluate_all(progress)
            if not stop_requested:
                stop_requested = on_any_worker(
                    self.steps, self.placement, bool(self.stop.signal_name)
                )
            limit = self.early_stopping.epochs
            if limit and progress.patience.waited >= limit:
                progress.stopped = "patience"
            elif progress.step >= self.plan.last_step:
                progress.stopped = self.plan.ending
            self.save(progress)
            if stop_requested and not progress.stopped:
                break
        with self._saving():
            self.files.checkpoints.wait()
        return progress.stopped or "preempted", test

    def save(self, progress: Progress) -> None:
        """Compares the replicas; then writes the run's files and, in the background, a checkpoint.

        Raises:
            BitsDiffer: the replicas' weights or optimizers differ.
            RunError: a weight isn't finite, since the last update was too large; or the previous
                save failed.
        """
        with self._saving():
            progress.bit_checks += self.bit_checks.compare_copies(progress.step)
        checkpoints, step = self.files.checkpoints, progress.step
        check_weights(self.worker_name, checkpoints.variables, step, self.trainset, self.placement)
        events = self.files.events
        events.flush()
        state = {
            "identity": self.identity,
            "origin": self.origin,
            "arithmetic": self.kernels,
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
        """Scores the "validation" or "test" split, by the averaged weights if there are any."""
        doing = self.files.console.doing(f"evaluating {split}")
        with doing, self.stop.during("an evaluation"):
            self.steps.swap_averages()
            shards = self.trainset.shards
            result = evaluate(self.steps, self.placement, getattr(self.data, split), shards)
            self.steps.swap_averages()
        return result

    def _train_epoch(self, progress: Progress, blocks: PrefetchedBlocks) -> bool:
        """Trains to the end of the epoch or run, or until a worker is asked to stop.

        Returns:
            Whether a worker is asked to stop.
        """
        epoch, _ = self.trainset.order.position(progress.step)
        stop_requested, started, epoch_seconds = False, time.monotonic(), 0.0
        for steps, block in blocks:
            waited = time.monotonic() - started
            self.files.trace.at(steps.start)
            stop_requested, save_requested = self._train_block(progress, steps, block)
            progress.step = steps.stop
            self.files.trace.at(steps.stop)
            self.report_step(progress.step)
            now = time.monotonic()
            progress.train_seconds += now - started
            epoch_seconds += now - started
            self._reporter.block(steps, now - started, waited, progress.train_seconds)
            if stop_requested and not self.plan.evaluation_due(progress.step):
                return True
            self.files.checkpoints.poll()
            self.save_deadline.check(now - started, self.files.checkpoints.took_s)
            if self.plan.evaluation_due(progress.step):
                break
            if self.plan.save_due(progress.step, save_requested):
                self.save(progress)
            started = time.monotonic()
        self.files.console.line(
            f"\nTrain time for epoch #{epoch + 1} (global step {progress.step}): {epoch_seconds:f}"
        )
        return stop_requested

    def _train_block(self, progress: Progress, steps: range, block: Any) -> tuple[bool, bool]:
        """Trains and logs a block.

        Returns:
            Whether a worker had a stop request, and whether worker 0 asked for a save, before the
            block.
        """
        dtype = self.steps.dtype
        rates = np.zeros(self.trainset.block_steps)
        rates[: len(steps)] = [self.schedule.rate(step) for step in steps]
        checkpoints = self.files.checkpoints
        save = checkpoints.chief and self.plan.save_request(checkpoints.age_s())
        requests = tf.constant(step_records.requests(bool(self.stop.signal_name), save), dtype)
        trained = self.steps.train_block(
            block, tf.constant(rates, dtype), tf.constant(len(steps)), requests
        )
        records = step_records.unpack(trained.rows.numpy(), steps)
        checks = trained.checks.numpy()
        progress.bit_checks += self.bit_checks.compare_steps(steps, checks, self.steps.trainable)
        digests = trained.digests.numpy()
        for record, rate, digest in zip(records, rates, digests, strict=False):
            check_step(self.worker_name, record, self.trainset, self.placement)
            self._reporter.step(record, float(rate))
            if (record.step + 1) % (self.digest_every_steps or math.inf) == 0:
                self._reporter.digests(record.step + 1, digest)
        self.files.console.advance(len(steps), records[-1].loss)
        last = records[-1]
        return last.stop_requested, last.save_requested

    def _evaluate_all(self, progress: Progress) -> Evaluation | None:
        """Scores the validation and the test split, each unless it is empty.

        Returns:
            The score on the test split; None if that is empty.
        """
        test = None
        for split in ("validation", "test"):
            if not len(getattr(self.data, split).labels):
                continue
            score = self.evaluate(split)
            if not math.isfinite(score.loss):
                raise diverged(self.worker_name, f"the {split} loss is {score.loss}", progress.step)
            progress.scores[split] = score.means()
            self._reporter.score(split, score, progress.step)
            if split == "test":
                test = score
        if self.early_stopping.epochs and self.plan.epoch_ended(progress.step):
            progress.patience.update(
                self.early_stopping, progress.step, progress.scores["validation"]
            )
        return test
