"""Reads IDX files, MNIST's format: a magic number, the sizes, then the values; gzipped or not.

The header is checked against the file's size before memory is allocated for what it claims. Large
files that aren't gzipped are mapped, so that the processes of a machine share one copy.
"""

import gzip
import math
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from mnist_dist.data.split import MOST_BYTES
from mnist_dist.errors import UsageError

UNSIGNED_BYTES, INTEGERS = 0x08, 0x0C
DTYPES: dict[int, np.dtype] = {UNSIGNED_BYTES: np.dtype(np.uint8), INTEGERS: np.dtype(">i4")}
NAMES = {UNSIGNED_BYTES: "unsigned bytes", INTEGERS: "32-bit integers"}
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # the largest compression ratio of deflate
CHUNK_BYTES = 1 << 20
MAPPED_BYTES = 1 << 28
"""Arrays of at least this size are mapped, smaller ones read: a mapped file must not change."""


def read(path: Path, dimensions: int, code: int = UNSIGNED_BYTES) -> np.ndarray:
    """Reads an IDX file.

    Args:
        path: the file; gzip is recognised by its first bytes, not by the name.
        dimensions: dimensions that the file must have: 1 for labels, 3 for images.
        code: the type that its values must have, UNSIGNED_BYTES or INTEGERS.

    Returns:
        uint8 or big-endian int32, of the sizes in the header.

    Raises:
        UsageError: it can't be read, isn't such a file, or doesn't hold what its header says.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may never end
            raise UsageError(f"{path}: {_kind(found.st_mode)} and no file; give one with IDX data")
        size_bytes = found.st_size
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if zipped else raw as opened:
                file = cast(BinaryIO, opened)
                most_bytes = size_bytes * DEFLATE_RATIO if zipped else size_bytes
                shape = _shape(path, file, dimensions, code, most_bytes)
                if not zipped and math.prod(shape) * DTYPES[code].itemsize >= MAPPED_BYTES:
                    return _mapped(path, shape, code, size_bytes)
                return _values(path, file, shape, code)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: bad gzip ({error}); fetch the file again") from error
    except ValueError as error:  # a zero byte in the name
        raise UsageError(f"{path}: can't be a path ({error}); check it") from error
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); check the path") from error


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"


def _shape(
    path: Path, file: BinaryIO, dimensions: int, code: int, most_bytes: int
) -> tuple[int, ...]:
    """The sizes in the header; `most_bytes` is the most that the file can hold."""
    head_bytes = 4 + 4 * dimensions
    head = file.read(head_bytes)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise UsageError(
            f"{path}: not an IDX file, it begins with {head[:4].hex() or 'nothing'}; "
            f"IDX images begin with 00000803 and labels with 00000801"
        )
    if head[2] != code or head[3] != dimensions:
        raise UsageError(
            f"{path}: IDX magic number {head[:4].hex()}, expected 0000{code:02x}{dimensions:02x} "
            f"({NAMES[code]} of {dimensions} dimension(s)); is it the right file?"
        )
    if len(head) < head_bytes:
        raise UsageError(f"{path}: truncated, {len(head)} bytes of header of {head_bytes}")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    claimed_bytes = math.prod(shape) * DTYPES[code].itemsize
    if not claimed_bytes:
        raise UsageError(f"{path}: holds nothing, its sizes are {_by(shape)}")
    if claimed_bytes + head_bytes > most_bytes:
        raise UsageError(
            f"{path}: the header claims {claimed_bytes} bytes ({_by(shape)}), "
            f"more than the file can hold; it is truncated or damaged, fetch it again"
        )
    return shape


def _mapped(path: Path, shape: tuple[int, ...], code: int, size_bytes: int) -> np.ndarray:
    head_bytes = 4 + 4 * len(shape)
    claimed_bytes = math.prod(shape) * DTYPES[code].itemsize
    if size_bytes != head_bytes + claimed_bytes:
        raise UsageError(_other_size(path, claimed_bytes, shape, "more"))
    return np.memmap(path, DTYPES[code], "r", head_bytes, shape)


def _values(path: Path, file: BinaryIO, shape: tuple[int, ...], code: int) -> np.ndarray:
    claimed_bytes = math.prod(shape) * DTYPES[code].itemsize
    if claimed_bytes > MOST_BYTES:
        raise UsageError(
            f"{path}: {claimed_bytes} bytes; at most {MOST_BYTES} are read into memory; "
            "a file that isn't gzipped is mapped and may be larger"
        )
    data = _read_most(file, claimed_bytes + 1)
    if len(data) != claimed_bytes:
        found = "more" if len(data) > claimed_bytes else f"{len(data)}"
        raise UsageError(_other_size(path, claimed_bytes, shape, found))
    return np.frombuffer(data, DTYPES[code]).reshape(shape)


def _other_size(path: Path, claimed_bytes: int, shape: tuple[int, ...], found: str) -> str:
    return (
        f"{path}: the header claims {claimed_bytes} bytes ({_by(shape)}) and "
        f"{found} follow; it is truncated or damaged, fetch it again"
    )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _read_most(file: BinaryIO, most_bytes: int) -> bytearray:
    """Reads to the end, or `most_bytes`, in chunks: memory grows with what is really there.

    A single read of a gzip would allocate all of `most_bytes`, which may be a false claim.
    """
    data = bytearray()
    while chunk := file.read(min(CHUNK_BYTES, most_bytes - len(data))):
        data += chunk
    return data
