"""Throughput and efficiency of the measured levels, and the prediction for more replicas.

All of it is plain JSON, as --json writes it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from mnist_dist.bench import model
from mnist_dist.bench.plan import Level

WAYS = ("weak", "strong")
MORE = 4
"""The factor of the larger batch that is predicted for comparison."""


class Sent(NamedTuple):
    """The flags that decide how gradients are sent."""

    wire_dtype: str
    accumulate_steps: int


def merge(level: Level, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combines the results of a level's workers; the slowest one counts."""
    row = {"replicas": level.replicas, "workers": level.workers, "devices": level.devices}
    for way in WAYS:
        longest = {name: max(own[way][name] for own in found) for name in ("wait_s", "alone_s")}
        row[way] = found[0][way] | longest
    return row | {"all_reduce": found[0]["all_reduce"]}


def figures(levels: Sequence[dict[str, Any]]) -> None:
    """Adds to each level's "weak" and "strong" what follows from its times.

    "images_per_s" over all replicas, "efficiency" of a replica against the first level's one,
    "input", the share of a step that waits for images, and "communication", the share that isn't
    there when each replica trains by itself: the sum of the gradients, waiting for the slowest.
    """
    for way in WAYS:
        for level in levels:
            row, first = level[way], levels[0][way]
            row["images_per_s"] = row["batch"] / row["step_s"]
            alone = first["batch"] / first["step_s"]
            row["efficiency"] = row["images_per_s"] / (level["replicas"] * alone)
            row["input"] = row["wait_s"] / row["step_s"]
            row["communication"] = max(0.0, 1.0 - row["alone_s"] / row["step_s"])


def prediction(
    levels: Sequence[dict[str, Any]], travels: dict[str, int], sent: Sent
) -> dict[str, Any] | None:
    """The model that fits the levels, what it says of 2 to 1,024 replicas, and what would move it.

    Args:
        levels: after `figures`; each of several replicas gets its "model_s", the model's step.
        travels: "bytes" and "reductions" of a step.
        sent: what the flags say of that.

    Returns:
        "step" and "ring", the model's figures; "weak" and "strong", each with "points", "worth"
        (the most replicas at half of the efficiency) and "fastest" (beyond which more give less);
        "changes", the same for other flags. None where one replica is all there is.
    """
    summed = [level for level in levels if level["all_reduce"]]
    if not summed:
        return None
    # With several workers only their network is fitted, not the links between devices.
    over = [level for level in summed if level["workers"] > 1] or summed
    ring = model.fit_ring(
        (level["replicas"], size, seconds)
        for level in over
        for size, seconds in zip(*level["all_reduce"].values(), strict=True)
    )
    last = levels[-1]
    alone = [(last[way]["images"], last[way]["alone_s"]) for way in WAYS]
    step = model.fit_step(alone, travels["bytes"], travels["reductions"], sent.accumulate_steps)
    ways = {
        way: model.Scaling(
            step, ring, levels[0]["weak"]["batch"], way == "weak", sent.accumulate_steps
        )
        for way in WAYS
    }
    for level in summed:
        for way in WAYS:
            level[way]["model_s"] = ways[way].at(level["replicas"]).step_s
    return {
        "step": {"fixed_s": step.fixed_s, "image_s": step.image_s},
        "ring": ring._asdict(),
        "overlap": 0.0,
        **{way: _border(ways[way]) | {"points": _points(ways[way])} for way in WAYS},
        "changes": [
            {"flags": flags, **{way: _border(changed[way]) for way in WAYS}}
            for flags, changed in _changes(ways, sent)
        ],
    }


def _points(scaling: model.Scaling) -> list[dict[str, Any]]:
    return [scaling.at(number)._asdict() for number in model.doubling(scaling.most)]


def _border(scaling: model.Scaling) -> dict[str, int]:
    return {"worth": scaling.worth, "fastest": scaling.fastest, "most": scaling.most}


def _changes(
    ways: dict[str, model.Scaling], sent: Sent
) -> list[tuple[str, dict[str, model.Scaling]]]:
    """Returns flags that improve scaling, and the scaling with them."""
    batch, parts = ways["weak"].batch * MORE, sent.accumulate_steps * MORE
    made: list[tuple[str, dict[str, Any]]] = [
        (f"--batch_size={batch}", {"batch": batch}),
        (
            f"--batch_size={batch} --accumulate_steps={parts}",
            {"batch": batch, "micro_batches": parts},
        ),
    ]
    if sent.wire_dtype != "bfloat16":
        step = ways["weak"].step
        half = step._replace(bytes=step.bytes // 2, reductions=step.reductions + 1)
        made += [
            ("--wire_dtype=bfloat16", {"step": half}),
            (f"--batch_size={batch} --wire_dtype=bfloat16", {"batch": batch, "step": half}),
        ]
    return [
        (flags, {way: dataclasses.replace(one, **change) for way, one in ways.items()})
        for flags, change in made
    ]
