"""docs/files.md against the files of a real run: the same keys, of the types that stand there."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mnist_dist.config import Config

PAGE = Path(__file__).parents[3] / "docs/files.md"
TYPES = {
    "boolean": lambda value: type(value) is bool,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) is float,
    "string": lambda value: type(value) is str,
    "object": lambda value: type(value) is dict,
    "strings": lambda value: type(value) is list and all(type(one) is str for one in value),
    "null": lambda value: value is None,
}


def tables():
    """Heading -> the tables below it, each a dict: key -> its type."""
    found: dict[str, list[dict[str, str]]] = {}
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        heading = section.splitlines()[0]
        found[heading] = []
        for block in re.findall(r"(?:^\|.*\n)+", section, flags=re.M):
            head, _, *rows = (row.strip("|\n ").split(" | ") for row in block.splitlines())
            assert [cell.strip() for cell in head] == ["key", "type", "unit", "meaning"]
            found[heading].append({row[0].strip("` "): row[1].strip() for row in rows})
    return found


TABLES = tables()


def check(record, table):
    """The same keys in the same order, each value of its type."""
    assert list(record) == list(table)
    for key, value in record.items():
        words = table[key].split(" or ")
        assert any(TYPES[word](value) for word in words), (key, value, table[key])


def test_the_page_is_read():
    assert {heading: len(found) for heading, found in TABLES.items()} == {
        **{
            "metrics.jsonl": 1,
            "times.jsonl": 1,
            "digests.jsonl": 1,
            "result.json": 2,
            "predictions.npz": 1,
        },
        **{"TensorBoard": 1, "Checkpoints": 3},
        **{"One run folder, one run": 0, "After a fault": 0},
    }
    with pytest.raises(AssertionError):
        check({"step": 1.5, "seconds": 1.0}, TABLES["times.jsonl"][0])
    with pytest.raises(AssertionError):
        check({"step": 1}, TABLES["times.jsonl"][0])


def test_metrics(base):
    (table,) = TABLES["metrics.jsonl"]
    only_train = ", where `split` is `train`"
    train = {key: text.removesuffix(only_train) for key, text in table.items()}
    rest = {key: text for key, text in table.items() if not text.endswith(only_train)}
    lines = base.lines("metrics.jsonl")
    assert {line["split"] for line in lines} == {"train", "validation", "test"}
    for line in lines:
        check(line, train if line["split"] == "train" else rest)
        assert 0.0 <= line["accuracy"] <= 1.0


def test_times(base):
    for line in base.lines("times.jsonl"):
        check(line, TABLES["times.jsonl"][0])


def test_digests(trainer, small):
    run = trainer(*small, "--max_steps=4", "--digest_every_steps=2")
    lines = run.lines("digests.jsonl")
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        check(line, TABLES["digests.jsonl"][0])
        assert line["gradient"].keys() == line["weights"].keys()


def test_result(base, trainer, subset, tmp_path):
    result, resources = TABLES["result.json"]
    check(base.result(), result)
    check(base.result()["resources"], resources)
    assert set(base.result()["config"]) == {field.name for field in dataclasses.fields(Config)}
    assert all(type(value) is str for value in base.result()["versions"].values())
    stopped = trainer.api(
        **{"told": "SIGTERM", "no_gpu": True, "data_dir": subset, "validation_size": 0},
        **{"conv_filters": (2,), "dense_units": (), "output_dir": tmp_path / "out"},
        checkpoint_dir=tmp_path / "ck",
    )
    assert stopped["stopped"] == "preempted"  # before any evaluation: the case of null
    check(json.loads((tmp_path / "out/result.json").read_text()), result)


def test_predictions(base):
    (table,) = TABLES["predictions.npz"]
    sizes = {"examples": 1003, "height": 28, "width": 28, "channels": 1}
    with np.load(base.folder / "out/predictions.npz") as arrays:
        assert arrays.files == list(table)
        sizes["mistakes"] = min(48, int((arrays["label"] != arrays["prediction"]).sum()))
        for key, text in table.items():
            dtype, names = re.fullmatch(r"(\w+) \[(.*)\]", text).groups()
            assert arrays[key].dtype == dtype
            assert arrays[key].shape == tuple(sizes[name] for name in names.split(", "))


def test_tensorboard(base, trainer):
    found = [
        f"{folder}/{tag}"
        for folder in (".", "validation", "eval")
        for tag in trainer.series(base.folder / "out" / folder)
    ]
    (table,) = TABLES["TensorBoard"]
    elsewhere = {"./loss_scale", "./gpu_memory_bytes"}  # in float16, and on a GPU
    found = ["./HParams" if "_hparams_" in name else name for name in found]
    assert sorted(found) == sorted(set(table) - elsewhere)
    assert set(table.values()) == {"scalar", "image", "graph", "flags"}


def test_checkpoint(base, trainer):
    record, state, origin = TABLES["Checkpoints"]
    folder = base.folder / "ck/ckpt-80"
    found = json.loads((folder / "state.json").read_text())
    check(found, record)
    check(found["state"], state)
    check(found["state"]["origin"], origin)
    assert {*found["sha256"], "state.json"} == {path.name for path in folder.iterdir()}
    assert {name.split("/")[0] for name in trainer.weights(folder)} == {"model", "optimizer"}


def test_nothing_else_is_written(base):
    names = sorted(path.name for path in (base.folder / "out").iterdir())
    assert names.pop(1).startswith("events.out.tfevents.")
    assert names == [
        *("eval", "metrics.jsonl", "predictions.npz", "result.json", "times.jsonl"),
        "validation",
    ]
