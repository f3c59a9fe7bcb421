"""Throughput and efficiency of the measured levels, and the prediction for more replicas.

All of it is plain JSON, as --json writes it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from mnist_dist.bench import model
from mnist_dist.bench.plan import Level
from mnist_dist.training.reduce_plan import Sending

WAYS = ("weak", "strong")
SHORT_BYTES = 2  # of a bfloat16
MORE = 4
"""The factor of the larger batch that is predicted for comparison."""


def merge(level: Level, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combines the results of a level's workers; the slowest one counts."""
    row = {"replicas": level.replicas, "workers": level.workers, "devices": level.devices}
    for way in WAYS:
        longest = {name: max(own[way][name] for own in found) for name in ("wait_s", "alone_s")}
        row[way] = found[0][way] | longest
    product_row_s = max(own["product_row_s"] for own in found)
    return row | {"all_reduce": found[0]["all_reduce"], "product_row_s": product_row_s}


def figures(levels: Sequence[dict[str, Any]]) -> None:
    """Adds to each level's "weak" and "strong" what follows from its times.

    "images_per_s" over all replicas, "efficiency" of a replica against the first level's one,
    "input", the share of a step that waits for images, and "communication", the share that
    disappears when each replica trains by itself: summing gradients, waiting for the slowest.
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
    levels: Sequence[dict[str, Any]], sending: Sending, micro_batches: int = 1
) -> dict[str, Any] | None:
    """Fits the model to the levels, and predicts 2 to 1,024 replicas, with other flags too.

    Args:
        levels: after `figures`; each of several replicas gets its "model_s", the model's step.
        sending: how the gradients are sent.
        micro_batches: of a step.

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
    timings = [
        (level["replicas"], size, seconds)
        for level in over
        for size, seconds in zip(*level["all_reduce"].values(), strict=True)
    ]
    ring = model.fit_ring(timings, {level[way]["bytes"] // 4 * 4 for level in over for way in WAYS})
    last = levels[-1]
    alone = [(last[way]["images"], last[way]["alone_s"]) for way in WAYS]
    step = model.fit_step(alone, sending, last["product_row_s"], micro_batches)
    batch = levels[0]["weak"]["batch"]
    ways = {way: model.Scaling(step, ring, batch, way == "weak", micro_batches) for way in WAYS}
    for level in summed:
        for way in WAYS:
            level[way]["model_s"] = ways[way].at(level["replicas"]).step_s
    return {
        "step": {
            "fixed_s": step.fixed_s,
            "image_s": step.image_s,
            "product_row_s": step.product_row_s,
        },
        "ring": ring._asdict(),
        "overlap": 0.0,
        **{way: _border(ways[way]) | {"points": _points(ways[way])} for way in WAYS},
        "changes": [
            {"flags": flags, **{way: _border(changed[way]) for way in WAYS}}
            for flags, changed in _changes(ways)
        ],
    }


def _points(scaling: model.Scaling) -> list[dict[str, Any]]:
    return [scaling.at(number)._asdict() for number in model.doubling(scaling.most)]


def _border(scaling: model.Scaling) -> dict[str, int]:
    return {"worth": scaling.worth, "fastest": scaling.fastest, "most": scaling.most}


def _changes(ways: dict[str, model.Scaling]) -> list[tuple[str, dict[str, model.Scaling]]]:
    """Returns flags that improve scaling, and the scaling with them."""
    batch, parts = ways["weak"].batch * MORE, ways["weak"].micro_batches * MORE
    made: list[tuple[str, dict[str, Any]]] = [
        (f"--batch_size={batch}", {"batch": batch}),
        (
            f"--batch_size={batch} --accumulate_steps={parts}",
            {"batch": batch, "micro_batches": parts},
        ),
    ]
    step = ways["weak"].step
    sending = step.sending
    if sending.number_bytes > SHORT_BYTES:
        short = sending._replace(
            number_bytes=SHORT_BYTES, small=sending.small + 1, may_gather=False
        )
        half = step._replace(sending=short)
        made += [
            ("--wire_dtype=bfloat16", {"step": half}),
            (f"--batch_size={batch} --wire_dtype=bfloat16", {"batch": batch, "step": half}),
        ]
    return [
        (flags, {way: dataclasses.replace(one, **change) for way, one in ways.items()})
        for flags, change in made
    ]
