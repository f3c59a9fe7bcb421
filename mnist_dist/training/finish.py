"""Trains to the end, computes the reported score, and writes the run's last files."""

from typing import Any, NamedTuple

from mnist_dist.devices import resources
from mnist_dist.run.result import Result
from mnist_dist.run.versions import versions
from mnist_dist.training.evaluation import Evaluation, score_line
from mnist_dist.training.loop import Loop
from mnist_dist.training.progress import Progress
from mnist_dist.training.weights_digest import WEIGHTS, digest


class Facts(NamedTuple):
    """The cluster, the network and the flags; each attribute is a key of result.json."""

    num_replicas: int
    num_workers: int
    precision: str
    deterministic: bool
    parameters: int
    class_names: list[str]
    config: dict[str, Any]


def finish(loop: Loop, progress: Progress, facts: Facts) -> Result:
    """Trains on from `progress` until there is a reason to stop.

    Args:
        loop: the run.
        progress: the steps and scores so far.
        facts: the cluster, the network and the flags for the result.

    Raises:
        RunError: a loss that isn't finite, a full disk.
    """
    events, console = loop.files.events, loop.files.console
    finished = bool(progress.stopped)
    if finished:
        console.line(f"This run is finished ({progress.stopped}, global step {progress.step}).")
        if progress.patience.best_step is None:  # else the best weights' scores are reported, below
            _say_score(loop, progress)
    try:
        stopped, test = (progress.stopped, None) if finished else loop.run(progress)
    except BaseException as error:
        # Ctrl-C ends the process at once; it doesn't wait for a slow save.
        if not (isinstance(error, KeyboardInterrupt) and loop.stop.listening):
            loop.files.checkpoints.close()
        raise
    loop.files.checkpoints.close()
    if stopped == "preempted":
        name = loop.stop.signal_name or "a signal to another worker"
        console.line(f"Stopped by {name}: saved at global step {progress.step}, to go on later.")
    else:
        test = _score(loop, progress, test)
        if test is not None and (not finished or events.incomplete):
            score = test
            events.predictions(lambda path: score.save(path, loop.data.test))
    result = _result(loop, progress, stopped, facts)
    if progress.bit_checks:
        checks = "1 check" if progress.bit_checks == 1 else f"{progress.bit_checks:,} checks"
        console.line(f"Comparisons of bits: {checks}, 0 differ.")
    console.line(f"weights_sha256: {result.weights_sha256}")
    if not finished or events.incomplete:
        events.result(result.as_dict())
    events.close()
    return result


def _score(loop: Loop, progress: Progress, test: Evaluation | None) -> Evaluation | None:
    """The reported test score: of the best weights with --patience, else of the last ones.

    `test` is the last weights' score if it has been computed. Without a test set it is None.
    """
    best = progress.patience.best_step
    if best not in (None, progress.step):
        loop.files.checkpoints.restore(loop.files.checkpoints.at(best))
        progress.scores["validation"] = loop.evaluate("validation").means()
        test = None
    if test is None and len(loop.data.test.labels):
        test = loop.evaluate("test")
    if test is not None:
        progress.scores["test"] = test.means()
    if best is not None:
        loop.files.console.line(f"The best weights are of global step {best}:")
        _say_score(loop, progress)
    return test


def _say_score(loop: Loop, progress: Progress) -> None:
    """Prints the test score, or the validation score if there is no test set."""
    for split in ("test", "validation"):
        if split in progress.scores:
            loop.files.console.line(score_line(split, progress.scores[split]))
            break


def _result(loop: Loop, progress: Progress, stopped: str, facts: Facts) -> Result:
    order = loop.trainset.order
    epochs, rest = divmod(progress.step, order.steps_per_epoch)
    images = epochs * order.examples + rest * order.batch_size
    test, validation = progress.scores.get("test", {}), progress.scores.get("validation", {})
    return Result(
        test_accuracy=test.get("accuracy"),
        test_loss=test.get("loss"),
        validation_accuracy=validation.get("accuracy"),
        validation_loss=validation.get("loss"),
        steps=progress.step,
        epochs=progress.step / order.steps_per_epoch,
        train_seconds=progress.train_seconds,
        images_per_s=images / max(progress.train_seconds, 1e-9),
        weights_sha256=digest(loop.files.checkpoints.variables, WEIGHTS),
        bit_checks=progress.bit_checks,
        data=loop.data.fingerprint,
        stopped=stopped,
        arithmetic=loop.kernels,
        versions=versions(),
        resources=resources.used(),
        history=tuple(loop.files.events.history),
        **facts._asdict(),
    )
