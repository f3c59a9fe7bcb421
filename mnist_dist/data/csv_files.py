"""Kaggle's tables: a row for each image, with its label and its pixels as columns.

`train.csv` has the columns label, pixel0, pixel1, …; `test.csv` may lack the label. So do
sign-language MNIST (`sign_mnist_train.csv`), Fashion-MNIST's and EMNIST's tables, which may lack
the header.
"""

import contextlib
import functools
import gzip
import math
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from mnist_dist.data import emnist
from mnist_dist.data.split import (
    MOST_BYTES,
    MOST_CLASSES,
    SUBSET_NAME,
    SUBSETS,
    DataSet,
    Files,
    Found,
    combine,
    only_path,
)
from mnist_dist.errors import UsageError, shorten

NAME = re.compile(rf"(?:(?P<set>.+)[-_])?{SUBSET_NAME}\.csv(\.gz)?")
MOST_COLUMNS = 200_000
MOST_LINE_BYTES = 4 * MOST_COLUMNS + 1000
ROWS = 1000  # parsed at once
LABEL = ("label", "labels", "class", "target", "y")
IGNORED = ("id", "imageid", "image_id", "index")
PIXEL = re.compile(r"(?:pixel|px|p|x|f)?[-_.]?\d+(?:x\d+)?")
NUMBER = re.compile(r"\s*\d+\s*")


class Columns(NamedTuple):
    """Which columns of a table hold what.

    Attributes:
        total: the number of all columns.
        label: index of the label's column; None if there is none.
        pixels: indices of the pixels' columns, from left to right.
        shape: (height, width, channels) of the images.
    """

    total: int
    label: int | None
    pixels: np.ndarray
    shape: tuple[int, int, int]


def find(folder: Path, entries: Iterable[Path]) -> list[Found]:
    """The sets of tables among the `entries` of a folder."""
    sets: dict[str, dict[str, list[Path]]] = {}
    for path in entries:
        match = NAME.fullmatch(path.name.lower())
        if match and path.is_file():
            files = sets.setdefault(match["set"] or "", {})
            files.setdefault(SUBSETS[match["subset"]], []).append(path)
    return [
        Found(
            name or "CSV files",
            {role: tuple(paths) for role, paths in files.items()},
            functools.partial(_read, folder, name),
        )
        for name, files in sets.items()
    ]


def _read(folder: Path, name: str, files: Files) -> DataSet:
    which = name.removeprefix("emnist-") if name.startswith("emnist-") else ""
    subsets: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for role in files:
        path = only_path(files, role)
        if path is None:
            continue
        images, labels = _table(path)
        if labels is None and role != "test":
            raise UsageError(
                f"{path}: it has no column for the label; name it label, or give it first"
            )
        if which:
            images = emnist.upright(images[..., 0])
            labels = None if labels is None else emnist.from_zero(labels, which, str(path))
        subsets[role] = images, labels
    return combine(subsets, f"CSV files in {folder}", emnist.class_names(which))


def _table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The images, uint8 [rows, height, width, channels], and the labels, int32 [rows], of a table.

    Raises:
        UsageError: the table can't be read, or a row isn't of pixels; the message names the row.
    """
    images, labels, size_bytes, first = [], [], 0, 1
    with _lines(path) as lines:
        line = next(lines, "")
        if not line:
            raise UsageError(f"{path}: no rows in it; give a table with a row for each image")
        columns, has_header = _columns(path, line)
        if has_header:
            first += 1
        else:
            lines = chain([line], lines)
        while chunk := list(islice(lines, ROWS)):
            values = _numbers(path, chunk, columns, first)
            size_bytes += len(values) * len(columns.pixels)
            if size_bytes > MOST_BYTES:
                raise UsageError(f"{path}: more than {MOST_BYTES} pixels; give a smaller table")
            images.append(values[:, columns.pixels].astype(np.uint8))
            if columns.label is not None:
                labels.append(values[:, columns.label].astype(np.int32))
            first += len(chunk)
    if not images:
        raise UsageError(f"{path}: no rows in it; give a table with a row for each image")
    pixels = np.concatenate(images).reshape(-1, *columns.shape)
    return pixels, np.concatenate(labels) if labels else None


@contextlib.contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a text, gzipped or not, without empty ones; errors become UsageError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: not a file; give a table")
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if zipped else raw as file:
                yield _bounded_lines(path, cast(BinaryIO, file))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: it isn't text; give a table of comma-separated numbers") from (
            error
        )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: bad gzip ({error}); fetch the file again") from error
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); check the path") from error


def _bounded_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise UsageError(
                f"{path}: row {number} is longer than {MOST_LINE_BYTES} characters; "
                f"at most {MOST_COLUMNS} columns are read"
            )
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if text:
            yield text


def _columns(path: Path, line: str) -> tuple[Columns, bool]:
    """What the columns hold, by a table's first line, and whether that line is a header."""
    fields = [field.strip().strip('"').strip().lower() for field in line.split(",")]
    if len(fields) > MOST_COLUMNS:
        raise UsageError(f"{path}: {len(fields)} columns; at most {MOST_COLUMNS} are read")
    has_header = not all(NUMBER.fullmatch(field) for field in fields)
    if has_header:
        labels = [place for place, field in enumerate(fields) if field in LABEL]
        pixels = [place for place, field in enumerate(fields) if field not in (*LABEL, *IGNORED)]
        strange = [fields[place] for place in pixels if not PIXEL.fullmatch(fields[place])]
        if strange:
            raise UsageError(
                f"{path}: column '{shorten(strange[0], 40)}' is neither label nor pixel; give "
                "label, pixel0, pixel1 and so on"
            )
        if len(labels) > 1:
            raise UsageError(f"{path}: {len(labels)} columns for the label; leave one")
        label = labels[0] if labels else None
    else:  # the label comes first
        label = 0 if _shape(len(fields) - 1) else None
        pixels = list(range(len(fields)))[0 if label is None else 1 :]
    shape = _shape(len(pixels))
    if not shape:
        raise UsageError(
            f"{path}: {len(pixels)} columns of pixels, which make no square image; give one "
            "column for each pixel, such as 784 for 28x28, or three for each"
        )
    return Columns(len(fields), label, np.array(pixels), shape), has_header


def _shape(pixels: int) -> tuple[int, int, int] | None:
    """Height, width and channels of square images of so many values; None if there are none."""
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side and side * side * channels == pixels:
            return side, side, channels
    return None


def _numbers(path: Path, lines: list[str], columns: Columns, first: int) -> np.ndarray:
    """Rows as int64 [rows, columns]; `first` is the number of the first line, from 1."""
    try:
        values = np.loadtxt(lines, np.int64, comments=None, delimiter=",", quotechar='"', ndmin=2)
    except (ValueError, OverflowError):
        values = None
    if values is None or values.shape != (len(lines), columns.total):
        raise UsageError(_first_wrong(path, lines, columns, first))
    limits = np.full(columns.total, 256)
    if columns.label is not None:
        limits[columns.label] = MOST_CLASSES
    if len(columns.pixels) + (columns.label is not None) < columns.total:
        ignored = np.ones(columns.total, bool)
        ignored[columns.pixels] = False
        if columns.label is not None:
            ignored[columns.label] = False
        values[:, ignored] = 0
    rows, places = np.nonzero((values < 0) | (values >= limits))
    if rows.size:
        place, what = int(places[0]), "pixel"
        if place == columns.label:
            what = "label"
        raise UsageError(
            f"{path}: row {first + rows[0]}, column {place + 1}: {what} {values[rows[0], place]} "
            f"isn't 0 to {limits[place] - 1}"
        )
    return values


def _first_wrong(path: Path, lines: list[str], columns: Columns, first: int) -> str:
    """What is wrong with the first line that isn't a row of whole numbers."""
    for number, line in enumerate(lines, first):
        fields = line.split(",")
        if len(fields) != columns.total:
            return f"{path}: row {number} has {len(fields)} columns and the first {columns.total}"
        for place, field in enumerate(fields, 1):
            if not re.fullmatch(r'\s*"?[-+]?\d{1,18}"?\s*', field):
                return (
                    f"{path}: row {number}, column {place}: '{shorten(field, 40)}' isn't a whole "
                    "number; pixels are 0 to 255"
                )
    return f"{path}: rows {first} to {first + len(lines) - 1} aren't whole numbers with commas"
