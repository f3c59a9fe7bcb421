"""What differs between two runs. Pure functions of what `files` has read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mnist_dist.compare.files import Run
from mnist_dist.errors import UsageError

FOLDERS = ("run_dir", "output_dir", "checkpoint_dir", "data_dir", "class_names")
"""Flags that name places, which differ between machines."""
HARDWARE = ("num_replicas", "num_workers", "precision")
NUMBERS = ("loss", "accuracy", "lr")


class Parting(NamedTuple):
    """The first step with a difference.

    Attributes:
        step: global step, from 1.
        what: "gradient" or "weights", by digests.jsonl; "train", "validation" or "test", by
            metrics.jsonl; "weights at the end", by weights_sha256.
        names: the layers, or the quantities, that differ.
        values: the two losses, if they are what differs; else empty.
        equal_until: the last step before it that was compared; 0 if there is none.
    """

    step: int
    what: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    equal_until: int


class Difference(NamedTuple):
    """All that differs.

    Attributes:
        flags, versions, hardware: name -> the two values; None for one that isn't known.
        bits: the first difference between the digests; None if they are equal, or there are none.
        metrics: the first difference between the metrics; None if they are equal.
        steps: the last step that was compared.
        lines: how many lines of metrics.jsonl were compared.
        digests: how many steps' digests were compared.
    """

    flags: dict[str, tuple[Any, Any]]
    versions: dict[str, tuple[Any, Any]]
    hardware: dict[str, tuple[Any, Any]]
    bits: Parting | None
    metrics: Parting | None
    steps: int
    lines: int
    digests: int

    @property
    def equal(self) -> bool:
        """Whether all that was compared is equal."""
        return self.bits is None and self.metrics is None


def between(a: Run, b: Run) -> Difference:
    """Compares two runs.

    Raises:
        UsageError: they have other data, or no step in common.
    """
    data = a.facts.get("data"), b.facts.get("data")
    if all(data) and data[0] != data[1]:
        raise UsageError(
            f"{a.name} and {b.name} are of other data or another split (fingerprints "
            f"{str(data[0])[:8]}..., {str(data[1])[:8]}...), so no step can be equal; give the "
            "same data, --validation_size and --validation"
        )
    rows = [key for key in a.metrics if key in b.metrics]
    steps = [step for step in a.digests if step in b.digests]
    if not rows and not steps:
        raise UsageError(
            f"{a.name} and {b.name} have no logged step in common; give both the same "
            "--log_interval or --digest_every_steps"
        )
    flags = _differing(a.facts.get("config", {}), b.facts.get("config", {}))
    return Difference(
        flags={name: pair for name, pair in flags.items() if name not in FOLDERS},
        versions=_differing(a.facts.get("versions", {}), b.facts.get("versions", {})),
        hardware=_differing(_hardware(a), _hardware(b)),
        bits=_digests_part(a, b, steps),
        metrics=_metrics_part(a, b, rows) or _ends_part(a, b),
        steps=max([*steps, *(step for step, _ in rows)]),
        lines=len(rows),
        digests=len(steps),
    )


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    if not a or not b:
        return {}
    names = dict.fromkeys([*a, *b])
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}


def _hardware(run: Run) -> dict[str, Any]:
    facts, resources = run.facts, run.facts.get("resources", {})
    found = {**facts.get("arithmetic", {}), **{name: facts.get(name) for name in HARDWARE}}
    found |= {name: resources.get(name) for name in ("hostname", "cores")}
    return {name: value for name, value in found.items() if value is not None}


def _digests_part(a: Run, b: Run, steps: list[int]) -> Parting | None:
    before = 0
    for step in steps:
        for kind in ("gradient", "weights"):
            names = tuple(_differing(a.digests[step][kind], b.digests[step][kind]))
            if names:
                return Parting(step, kind, names, (), before)
        before = step
    return None


def _metrics_part(a: Run, b: Run, rows: list[tuple[int, str]]) -> Parting | None:
    before = last = 0
    for step, split in rows:
        if step > last:
            before, last = last, step
        one, two = a.metrics[step, split], b.metrics[step, split]
        names = tuple(name for name in NUMBERS if one.get(name) != two.get(name))
        if names:
            losses = (one["loss"], two["loss"]) if "loss" in names else ()
            return Parting(step, split, names, losses, before)
    return None


def _ends_part(a: Run, b: Run) -> Parting | None:
    """The difference of runs with equal metrics but other weights after as many steps."""
    ends = [(run.facts.get("steps"), run.facts.get("weights_sha256")) for run in (a, b)]
    (steps, one), (others, two) = ends
    if steps and steps == others and one and two and one != two:
        return Parting(
            steps, "weights at the end", (), (), max(s for s, _ in a.metrics or [(0, "")])
        )
    return None
