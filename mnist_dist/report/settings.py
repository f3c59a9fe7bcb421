"""Groups runs that differ only in their seed into settings."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_dist.errors import shorten
from mnist_dist.optimizers import FLAGS, OPTIMIZERS
from mnist_dist.report.runs import Run

DASH = "\N{EN DASH}"

TEST_IMAGES = 10_000
"""Test images of MNIST, assumed if a run has no predictions.npz."""

MOST_FLAGS = 4
"""Settings that differ in more flags are named by their runs."""

SAME_RUN = frozenset(
    {
        *("seed", "data_dir", "run_dir", "output_dir", "checkpoint_dir", "log_interval"),
        *("log_every_s", "resume", "checkpoint_every_steps", "checkpoint_every_s"),
        *("keep_checkpoints", "verbosity", "describe", "gpus", "interface"),
        *("cluster", "connect_timeout", "peer_timeout"),
    }
)
"""Flags that don't decide a setting: the seed, folders, and what is written when."""


@dataclasses.dataclass
class Setting:
    """Finished runs that differ only in their seed; a seed that was run twice counts once.

    Attributes:
        flags: name -> value, those that are not the same in all settings.
        runs: in the order given.
        test: test accuracy of each seed, 0..1, ascending seeds.
        validation: the same of the validation split; empty where there is none.
        examples: images in the test set.
    """

    flags: dict[str, Any]
    runs: list[Run]
    test: np.ndarray
    validation: np.ndarray
    examples: int

    @property
    def name(self) -> str:
        """The flags that differ, such as "adam, lr 0.001, residual"; the run if they are many."""
        if self.named_by_run:
            more = len(self.runs) - 1
            return self.runs[0].name + (f" and {more} more" if more else "")
        config = self.runs[0].config
        flags = self.flags or {name: config.get(name) for name in ("optimizer", "lr")}
        flags = {name: value for name, value in flags.items() if value is not None}
        on = {name: value for name, value in flags.items() if value not in ("", False)}
        words = {name: f"{name} {shown(value)}" for name, value in (on or flags).items()}
        words |= {name: name for name, value in on.items() if value is True}
        words |= {name: shown(on[name]) for name in ("schedule", "optimizer") if name in on}
        first = [words.pop("optimizer")] if "optimizer" in words else []
        return ", ".join([*first, *words.values()])

    @property
    def named_by_run(self) -> bool:
        """Whether too many flags differ for a name made of them."""
        return len(self.flags) > MOST_FLAGS

    @property
    def mean(self) -> float:
        """Mean test accuracy over seeds, 0..1."""
        return float(self.test.mean())

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the test accuracy over seeds; None with one seed."""
        return float(self.test.std(ddof=1)) if len(self.test) > 1 else None

    @property
    def binomial(self) -> float:
        """The standard error that one test of so many images has."""
        return math.sqrt(self.mean * (1.0 - self.mean) / self.examples)

    @property
    def epochs(self) -> float:
        """Mean training length over runs, in epochs."""
        return float(np.mean([run.result["epochs"] for run in self.runs]))

    @property
    def length(self) -> str:
        """The training length in words."""
        epochs = sorted(run.result["epochs"] for run in self.runs)
        steps = float(np.mean([run.result["steps"] for run in self.runs]))
        between = f"{epochs[0]:.3g} to " if f"{epochs[0]:.3g}" != f"{epochs[-1]:.3g}" else ""
        noun = "epoch" if not between and f"{epochs[-1]:.3g}" == "1" else "epochs"
        about = "about " if between else ""
        return f"{between}{epochs[-1]:.3g} {noun} ({about}{steps:,.0f} steps)"

    @property
    def best_run(self) -> Run:
        """The run with the best validation accuracy, or test accuracy where there is no other."""
        score = "validation_accuracy" if len(self.validation) else "test_accuracy"
        return max(self.runs, key=lambda run: run.result[score])


def data_sets(runs: Sequence[Run]) -> list[list[Run]]:
    """Finished runs by the data that they saw; only those of one set can be ranked.

    That is what their fingerprints say. One covers the split, too: runs that hold out another
    number of images, or of a version that noted none, are of one set if they read the same place
    and have the same test labels, as far as their files tell.
    """
    sets: list[list[Run]] = []
    for run in runs:
        if not run.unfinished:
            alike = (one for one in sets if all(_same_data(run, other) for other in one))
            found = next(alike, None)
            if found is None:
                sets.append([run])
            else:
                found.append(run)
    return sets


def _same_data(one: Run, other: Run) -> bool:
    def same(name: str) -> bool:
        return one.config.get(name) == other.config.get(name)

    if one.data and other.data and same("validation_size"):
        return one.data == other.data
    return same("dataset") and same("data_dir") and same_test_labels([one, other])


def settings(runs: Sequence[Run]) -> list[Setting]:
    """Groups finished runs of one data set, the best setting first.

    By validation accuracy, test accuracy among equals; by test accuracy alone where not all have
    held out the same images.
    """
    finished = [run for run in runs if not run.unfinished]
    keys = [_decisive(run) for run in finished]
    differing = differing_flags(keys)
    groups: dict[str, list[Run]] = {}
    for run, key in zip(finished, keys, strict=True):
        groups.setdefault(repr([key.get(name) for name in differing]), []).append(run)
    found = []
    for members in groups.values():
        key = keys[finished.index(members[0])]
        flags = {name: key.get(name) for name in differing}
        validation = by_validation(members)
        found.append(
            Setting(
                flags,
                members,
                _by_seed(members, "test_accuracy"),
                _by_seed(members, "validation_accuracy") if validation else np.zeros(0),
                _examples(members),
            )
        )
    if by_validation(finished):
        return sorted(found, key=lambda s: (-s.validation.mean(), -s.mean))
    return sorted(found, key=lambda s: -s.mean)


def by_validation(runs: Sequence[Run]) -> bool:
    """Whether all have a validation accuracy, of the same number of images, to rank them by."""
    held_out = [run.config.get("validation_size") for run in runs]
    scored = all(run.result["validation_accuracy"] is not None for run in runs)
    return scored and all(size == held_out[0] for size in held_out)


def same_test_labels(runs: Sequence[Run]) -> bool:
    """Whether all were tested on the same labels, as far as their files tell."""
    found = [run.predictions.label for run in runs if run.predictions]
    return all(np.array_equal(found[0], label) for label in found)


def differing_flags(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The flags whose known values differ, in the order of the flags."""
    names = list(dict.fromkeys(name for config in configs for name in config))
    values = {name: [c[name] for c in configs if c.get(name) is not None] for name in names}
    return [name for name in names if any(value != values[name][0] for value in values[name])]


def shown(value: Any) -> str:
    """A flag's value as one would type it, at most 80 characters; a dash for none."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "on" if value else "off"
    return shorten(",".join(map(str, value)) if isinstance(value, list) else value) or "none"


def _decisive(run: Run) -> dict[str, Any]:
    """Returns the flags and sizes that decide a run's setting."""
    optimizer = run.config["optimizer"]
    entry = OPTIMIZERS.get(optimizer)
    unread = set(FLAGS) - set(entry.flags if entry else ())
    flags = {
        name: None if name in unread else value
        for name, value in run.config.items()
        if name not in SAME_RUN
    }
    result = run.result
    return {**flags, "replicas": result["num_replicas"], "workers": result["num_workers"]}


def _by_seed(runs: Sequence[Run], score: str) -> np.ndarray:
    seeds: dict[int, list[float]] = {}
    for run in runs:
        seeds.setdefault(run.config["seed"], []).append(run.result[score])
    return np.array([np.mean(seeds[seed]) for seed in sorted(seeds)])


def _examples(runs: Sequence[Run]) -> int:
    counts = [len(run.predictions.label) for run in runs if run.predictions]
    return counts[0] if counts else TEST_IMAGES
