"""Hugging Face's parquet files: a column of encoded pictures and one of labels. By pyarrow.

`train-00000-of-00001.parquet`, `test-00000-of-00001.parquet`, …; a subset may have several files.
Names of classes are read from the metadata that the `datasets` library writes.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnist_dist.data import decode
from mnist_dist.data.split import (
    MOST_BYTES,
    MOST_CLASSES,
    SUBSET_NAME,
    SUBSETS,
    TEST,
    TRAIN,
    VALIDATION,
    DataSet,
    Files,
    Found,
    Split,
    Unlabelled,
)
from mnist_dist.errors import UsageError, shorten

NAME = re.compile(rf"{SUBSET_NAME}(?:[-_.].*)?\.parquet")
IMAGES = ("image", "img", "images", "picture", "png")
LABELS = ("label", "labels", "class", "target", "character", "fine_label")
ROWS = 1000
NO_LABEL = -1
"""What Hugging Face's test sets have where the labels are withheld."""


class Table(NamedTuple):
    """The columns of a subset.

    Attributes:
        images: the name of the column of pictures.
        labels: the name of the column of labels; empty if there is none.
        class_names: the names of the classes, or none.
        rows: over all files.
    """

    images: str
    labels: str
    class_names: tuple[str, ...]
    rows: int


def find(folder: Path, entries: Iterable[Path]) -> list[Found]:
    """The set of parquet files among the `entries` of a folder."""
    files: dict[str, list[Path]] = {}
    for path in sorted(entries):
        match = NAME.fullmatch(path.name.lower())
        if match and path.is_file():
            files.setdefault(SUBSETS[match["subset"]], []).append(path)
    if not files:
        return []
    roles = {role: tuple(paths) for role, paths in files.items()}
    return [Found("parquet files", roles, functools.partial(_read, folder))]


def _read(folder: Path, files: Files) -> DataSet:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            f"{folder}: parquet files are read with pyarrow, which isn't installed; "
            "pip install 'mnist_dist[parquet]'"
        ) from error
    splits: dict[str, Split] = {}
    unlabelled = None
    class_names: tuple[str, ...] = ()
    for subset, paths in files.items():
        opened = []
        for path in paths:
            try:
                opened.append((path, pyarrow.parquet.ParquetFile(path, memory_map=False)))
            except (OSError, ValueError, pyarrow.ArrowException) as error:
                raise UsageError(
                    f"{path}: can't be read as parquet ({shorten(error)}); fetch it again"
                ) from error
        try:
            table = _table(opened)
            images, labels = _columns(opened, table)
        finally:
            for _, file in opened:
                file.close()
        class_names = class_names or table.class_names
        if labels is None or (subset == TEST and (labels == NO_LABEL).all()):
            if subset != TEST:
                raise UsageError(f"{paths[0]}: no column of labels; give {', '.join(LABELS[:2])}")
            unlabelled = Unlabelled(images)
        else:
            splits[subset] = Split(images, labels)
    plain = class_names == tuple(map(str, range(len(class_names))))
    return DataSet(
        f"parquet files in {folder}",
        splits.get(TRAIN),
        splits.get(VALIDATION),
        splits.get(TEST),
        unlabelled,
        () if plain else class_names,
        len(class_names),
    )


def _table(opened: list[tuple[Path, Any]]) -> Table:
    """Which columns are images and labels, by the features' types, else by the columns' names."""
    path, file = opened[0]
    schema = file.schema_arrow
    features = _features(schema.metadata or {})
    kinds = {name: str(value.get("_type")) for name, value in features.items()}
    images = [name for name in schema.names if kinds.get(name) == "Image"] or [
        name for name in IMAGES if name in schema.names
    ]
    labels = [name for name in schema.names if kinds.get(name) == "ClassLabel"] or [
        name for name in LABELS if name in schema.names
    ]
    if not images or len(images) > 1 or len(labels) > 1:
        raise UsageError(
            f"{path}: it has the columns {shorten(', '.join(schema.names))}; give one column of "
            f"pictures, {IMAGES[0]}, and one of labels, {LABELS[0]}"
        )
    given = features.get(labels[0], {}).get("names") if labels else None
    names = given if isinstance(given, list) else []
    usable = all(isinstance(name, str) and name.isprintable() for name in names)
    rows = sum(other.metadata.num_rows for _, other in opened)
    return Table(images[0], labels[0] if labels else "", tuple(names) if usable else (), rows)


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """The `features` that the datasets library wrote; none where they aren't understood."""
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: value for name, value in found.items() if isinstance(value, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _columns(opened: list[tuple[Path, Any]], table: Table) -> tuple[np.ndarray, np.ndarray | None]:
    labels: list[int] = []
    images = decode.stack(_pictures(opened, table, labels), table.rows)
    if not len(images):
        raise UsageError(f"{opened[0][0]}: it has no rows; give a set with images")
    return images, np.array(labels, np.int32) if table.labels else None


def _pictures(
    opened: list[tuple[Path, Any]], table: Table, labels: list[int]
) -> Iterator[tuple[str, bytes]]:
    """Each row's name for messages and encoded picture; its label is appended to `labels`."""
    import pyarrow

    wanted = [table.images, *([table.labels] if table.labels else [])]
    for path, file in opened:
        row = 0
        try:
            sizes = [file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)]
            if max(sizes, default=0) > MOST_BYTES or min(sizes, default=0) < 0:
                raise UsageError(f"{path}: a row group of {max(sizes)} bytes; give smaller ones")
            for batch in file.iter_batches(ROWS, columns=wanted):
                for record in batch.to_pylist():
                    row += 1
                    name = f"{path}: row {row}"
                    yield name, _encoded(name, record.get(table.images))
                    if table.labels:
                        labels.append(_label(name, record.get(table.labels)))
        except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
            raise UsageError(
                f"{path}: damaged after row {row} ({shorten(error)}); fetch it again"
            ) from error


def _encoded(name: str, cell: Any) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise UsageError(f"{name}: it has no encoded picture; give one, such as PNG, in each row")
    return data


def _label(name: str, cell: Any) -> int:
    if type(cell) is not int or not NO_LABEL <= cell < MOST_CLASSES:
        raise UsageError(
            f"{name}: its label is {shorten(repr(cell), 40)}; give a whole number from 0 to "
            f"{MOST_CLASSES - 1}"
        )
    return cell
