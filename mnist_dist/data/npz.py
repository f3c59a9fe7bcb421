"""Reads NumPy's .npz and .npy files from untrusted sources: without pickle, with bounded memory.

Memory is allocated for the bytes that are present, not for what a header claims, and arrays
larger than the caller allows are refused before they are decompressed.
"""

import contextlib
import math
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from mnist_dist.data.idx import CHUNK_BYTES
from mnist_dist.errors import UsageError, shorten

MOST_MEMBERS = 100
MOST_DIMENSIONS = 8
HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[a-zA-Z]\d*)', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[\d, ]{0,200})\),? ?\}\s*"
)


def read(path: Path, wanted: Sequence[str], most_bytes: int) -> dict[str, np.ndarray]:
    """Reads arrays of numbers from an archive.

    Args:
        path: the file.
        wanted: names of arrays; others are not read.
        most_bytes: the largest allowed size of one array, in bytes.

    Returns:
        name -> array, in the order of `wanted`.

    Raises:
        UsageError: the archive can't be read, or an array is missing, damaged, too large or not
            of numbers.
    """
    with _open(path) as (archive, members):
        missing = [name for name in wanted if name not in members]
        if missing:
            there = ", ".join(shorten(name, 20) for name in members)
            raise UsageError(
                f"{path}: no {missing[0]} in it (it has {shorten(there) or 'nothing'}); "
                f"an .npz with {_list(wanted)} is read"
            )
        return {name: _array(path, archive, members[name], most_bytes) for name in wanted}


def names(path: Path) -> list[str]:
    """The names of an archive's arrays.

    Raises:
        UsageError: the archive can't be read or has too many arrays.
    """
    with _open(path) as (_, members):
        return list(members)


def read_npy(path: Path, most_bytes: int, mapped_bytes: int) -> np.ndarray:
    """Reads an .npy file of numbers; one of at least `mapped_bytes` is mapped instead.

    Raises:
        UsageError: the file can't be read, is damaged, isn't of numbers, or would take more than
            `most_bytes` of memory.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path}: not a file; give an .npy")
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file)
            claimed_bytes = math.prod(shape) * dtype.itemsize
            if dtype.kind in "biuf" and claimed_bytes >= mapped_bytes:
                start = file.tell()
                if found.st_size != start + claimed_bytes:
                    raise ValueError("it isn't as long as its header says")
                return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
            file.seek(0)
            return _values(str(path), "it", file, most_bytes)
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); check the path") from error
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{path}: damaged ({shorten(error)}); fetch the file again") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """An archive and its members, by the arrays' names; errors of reading become UsageError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: not a file; give an .npz")
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(members) > MOST_MEMBERS:
                raise UsageError(f"{path}: {len(members)} arrays; at most {MOST_MEMBERS} are read")
            yield archive, members
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{path}: can't be read ({why}); check the path") from error
    # An encrypted member is a RuntimeError, an unknown compression a NotImplementedError.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path}: damaged ({shorten(error)}); fetch the file again") from error


def _array(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, most_bytes: int
) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed as NumPy never does")
    with archive.open(member) as file:
        return _values(f"{path}: {member.filename}", member.filename, file, most_bytes)


def _values(full_name: str, name: str, file: IO[bytes], most_bytes: int) -> np.ndarray:
    """The array in an open .npy file."""
    shape, fortran, dtype = _header(file)
    claimed_bytes = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "biuf":
        raise UsageError(f"{full_name} is of {shorten(dtype)}, not of numbers")
    if len(shape) > MOST_DIMENSIONS or claimed_bytes > most_bytes:
        raise UsageError(
            f"{full_name} claims {shorten(claimed_bytes, 40)} bytes; at most {most_bytes} are read"
        )
    data = bytearray()
    while chunk := file.read(min(CHUNK_BYTES, claimed_bytes + 1 - len(data))):
        data += chunk
    if len(data) != claimed_bytes:
        raise ValueError(f"{name} isn't as long as it says")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """An array's shape, order and dtype. NumPy's own reader evaluates the header as Python.

    Raises:
        ValueError: it isn't NumPy's format 1.0, which all arrays of plain numbers have.
    """
    start = file.read(10)
    if len(start) < 10 or start[:8] != b"\x93NUMPY\1\0":
        raise ValueError("not NumPy's format 1.0")
    match = HEADER.fullmatch(file.read(int.from_bytes(start[8:], "little")))
    if match is None:
        raise ValueError("not an array's header")
    try:
        dtype = np.dtype(match["descr"].decode())
    except TypeError as error:
        raise ValueError("not an array's header") from error
    shape = tuple(int(size) for size in match["shape"].split(b",") if size.strip())
    return shape, match["fortran"] == b"True", dtype


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
