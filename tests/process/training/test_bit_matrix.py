"""Faults of every kind on many topologies: what is found when, and who is named.

MNIST_DIST_BITS=whole runs all rows (ten minutes on two cores); otherwise a few do.
"""

import os

import pytest

from tests.process.training.faulty_runs import DIFFER, FLAGS, HOST, found, train

CHECKED = (*FLAGS, "--max_steps=24", "--check_every_steps=6", "--checkpoint_every_steps=10")
SHARDS = ("--shards=4",)
FACTORS = ("--reduce=factors", "--dense_units=200", "--batch_size=32")
NORM = ("--batch_norm",)
EACH = ("--batch_size=999", "--validation_size=0", "--check_every_steps=1", "--max_steps=6")
ONCE, ALWAYS = {"name": "conv1/kernel", "step": 11}, {"step": 7, "always": True}
ALWAYS_CONV1 = {"name": "conv1/kernel", **ALWAYS}
FROM_0 = {"always": True}
MISSED = None


def last(workers, devices):
    """The replica that errs in most rows is named."""
    return [(workers - 1, devices - 1)]


def all_of(workers, devices):
    return [(rank, number) for rank in range(workers) for number in range(devices)]


def rows():
    """Kind of fault, its details, workers, devices, flags; the step, what differs, who is named."""
    for workers, devices in ((2, 1), (3, 1), (1, 3)):
        on = workers, devices
        yield "gradient", ONCE, *on, FACTORS, (12, "twice", last(*on))
        yield "gradient", ALWAYS_CONV1, *on, FACTORS, MISSED
        yield "layer", {}, *on, (), (6, "twice", last(*on))
    for workers, devices in ((2, 1), (4, 1), (1, 2), (1, 4), (2, 2)):
        on = workers, devices
        named = last(*on) if workers * devices > 2 else all_of(*on)
        for fault in (ONCE, ALWAYS_CONV1):
            yield "gradient", fault, *on, (*SHARDS, *FACTORS), (12, "twice", named)
    yield "gradient", {**ONCE, "step": 7}, 4, 1, SHARDS, MISSED  # a step without a check
    yield "gradient", ONCE, 1, 1, SHARDS, (12, "twice", [(0, 0)])
    yield "gradient", ALWAYS_CONV1, 1, 1, SHARDS, MISSED
    for workers, devices in ((4, 1), (1, 4), (2, 2)):
        on = workers, devices
        for name in ("model/conv1/kernel", "model/logits/bias", "optimizer/momentum/conv2/kernel"):
            fault = {"name": name, "step": 6}
            yield "variable", fault, *on, (*SHARDS, "--ema=0.9"), (10, "copies", last(*on))
        yield "layer", FROM_0, *on, (*SHARDS, *FACTORS), (6, "twice", last(*on))
        for name in ("own", "whole"):
            fault = {"name": name, **FROM_0}
            yield "statistics", fault, *on, (*SHARDS, *NORM), (6, "twice", last(*on))
    weight = {"name": "model/conv1/kernel", "step": 6}
    yield "variable", weight, 2, 1, (), (10, "copies", all_of(2, 1))
    yield "variable", weight, 3, 1, ("--optimizer=adam",), (10, "copies", last(3, 1))
    yield "variable", weight, 3, 1, ("--precision=float64",), (10, "copies", last(3, 1))
    yield "variable", weight, 1, 1, (), MISSED
    for kind in ("images", "labels"):
        for workers, devices in ((2, 1), (4, 1), (2, 2)):
            named = last(4, 1) if workers == 4 else all_of(workers, devices)
            yield kind, FROM_0, workers, devices, SHARDS, (6, "twice", named)
        once = (*SHARDS, "--steps_per_loop=1")
        yield kind, {"step": 11}, 4, 1, once, (12, "twice", last(4, 1))
        yield kind, FROM_0, 3, 1, (), MISSED
    micro = ("--shards=8", "--accumulate_steps=2")
    yield "images", FROM_0, 4, 1, micro, (6, "twice", last(4, 1))
    yield "layer", {}, 1, 1, (), (6, "twice", [(0, 0)])
    yield "layer", FROM_0, 2, 1, (), MISSED
    yield "dropout", FROM_0, 4, 1, SHARDS, (6, "twice", last(4, 1))
    yield "dropout", {}, 2, 1, (), (6, "twice", last(2, 1))
    yield "statistics", {"name": "own"}, 2, 1, NORM, (6, "twice", last(2, 1))
    yield "statistics", {"name": "whole"}, 3, 1, NORM, (6, "twice", last(3, 1))
    for workers, devices in ((3, 1), (1, 3)):
        on = workers, devices
        yield "product", FROM_0, *on, FACTORS, (10, "copies", last(*on))
        yield "update", FROM_0, *on, (), (10, "copies", last(*on))
    yield "update", FROM_0, 4, 1, SHARDS, (6, "twice", last(4, 1))
    for precision in ("mixed_float16", "mixed_bfloat16"):
        flags = (*SHARDS, f"--precision={precision}")
        yield "gradient", ALWAYS_CONV1, 1, 4, flags, (12, "twice", last(1, 4))
    yield "gradient", ONCE, 1, 3, ("--xla=on",), (12, "twice", last(1, 3))
    yield "gradient", ALWAYS_CONV1, 1, 4, ("--xla=on", *SHARDS), (12, "twice", last(1, 4))
    uneven = ("--batch_size=50", "--accumulate_steps=3")
    yield "gradient", ONCE, 2, 1, uneven, (12, "twice", last(2, 1))
    # The last batch has three images, so the last of four replicas has none.
    for flags in ((), SHARDS):
        yield "gradient", {**ONCE, "step": 3}, 1, 4, (*EACH, *flags), (4, "twice", last(1, 4))


SHORT = (
    ("update", 1, 3),
    ("product", 1, 3),
)


def chosen():
    whole = os.environ.get("MNIST_DIST_BITS") == "whole"
    return [row for row in rows() if whole or (row[0], row[2], row[3]) in SHORT]


def name(row):
    kind, fault, workers, devices, flags, _ = row
    details = [str(fault[key]) for key in ("name", "step") if key in fault]
    often = "always" if fault.get("always") else "once"
    return " ".join([kind, *details, often, f"{workers}x{devices}", *flags])


@pytest.mark.parametrize("row", chosen(), ids=name)
def test_it_is_found_as_the_page_says(subset, tmp_path, row):
    """The named workers end with 76, the others with 1; no checkpoint is later than the fault."""
    kind, fault, workers, devices, flags, expected = row
    place = {"rank": workers - 1, "device": devices - 1, "devices": devices}
    runs = train(
        tmp_path / "run",
        subset,
        *(*CHECKED, "--connect_timeout=100", *flags),
        workers=workers,
        devices=devices,
        fault={"kind": kind, **place, **fault},
    )
    if expected is MISSED:
        assert [one.code for one in runs] == [0] * workers, runs[0].err
        return
    step, what, named = expected
    verdict = "wrong bits on " if len(named) == 1 else "no majority says which is right of "
    rank, number = named[0]
    text = f"step {step}: {DIFFER[what]}{verdict}worker {rank} (host {HOST}) /cpu:{number}: "
    found(runs, text, {rank for rank, _ in named})
    assert runs[0].err.count(f"(host {HOST})") == len(named)
    assert all(saved < step for saved in runs[0].checkpoints())
