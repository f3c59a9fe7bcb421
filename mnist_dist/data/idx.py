"""Reads IDX files, MNIST's format: a magic number, the sizes, then the values; gzipped or not.

The header is checked against the file's size before memory is allocated for what it claims.
"""

import gzip
import math
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from mnist_dist.errors import UsageError

UNSIGNED_BYTES = 8
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # the largest compression ratio of deflate
CHUNK_BYTES = 1 << 20
MOST_BYTES = 4 << 30  # a set is kept in memory; a gzip of 4 MB can hold as much


def read(path: Path, dimensions: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes.

    Args:
        path: the file; gzip is recognised by its first bytes, not by the name.
        dimensions: how many the file must have: 1 for labels, 3 for images.

    Returns:
        uint8, of the sizes in the header.

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
            with gzip.GzipFile(fileobj=raw) if zipped else raw as file:
                most_bytes = size_bytes * DEFLATE_RATIO if zipped else size_bytes
                return _parse(path, cast(BinaryIO, file), dimensions, most_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: bad gzip ({error}); fetch the file again") from error
    except ValueError as error:  # a zero byte in the name
        raise UsageError(f"{path}: can't be a path ({error}); check it") from error
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); check the path") from error


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"


def _parse(path: Path, file: BinaryIO, dimensions: int, most_bytes: int) -> np.ndarray:
    head_bytes = 4 + 4 * dimensions
    head = file.read(head_bytes)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise UsageError(
            f"{path}: not an IDX file, it begins with {head[:4].hex() or 'nothing'}; "
            f"IDX images begin with 00000803 and labels with 00000801"
        )
    if head[2] != UNSIGNED_BYTES or head[3] != dimensions:
        raise UsageError(
            f"{path}: IDX magic number {head[:4].hex()}, expected 0000080{dimensions} "
            f"(unsigned bytes of {dimensions} dimension(s)); is it the right file?"
        )
    if len(head) < head_bytes:
        raise UsageError(f"{path}: truncated, {len(head)} bytes of header of {head_bytes}")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    claimed_bytes = math.prod(shape)
    if not claimed_bytes:
        raise UsageError(f"{path}: holds nothing, its sizes are {'x'.join(map(str, shape))}")
    if claimed_bytes + head_bytes > most_bytes:
        raise UsageError(
            f"{path}: the header claims {claimed_bytes} bytes ({'x'.join(map(str, shape))}), "
            f"more than the file can hold; it is truncated or damaged, fetch it again"
        )
    if claimed_bytes > MOST_BYTES:
        raise UsageError(f"{path}: {claimed_bytes} bytes; at most {MOST_BYTES} are read")
    data = _read_most(file, claimed_bytes + 1)
    if len(data) != claimed_bytes:
        found = "more" if len(data) > claimed_bytes else f"{len(data)}"
        raise UsageError(
            f"{path}: the header claims {claimed_bytes} bytes ({'x'.join(map(str, shape))}) and "
            f"{found} follow; it is truncated or damaged, fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_most(file: BinaryIO, most_bytes: int) -> bytearray:
    """Reads to the end, or to `most_bytes`; takes memory only for what is really there.

    One read of a gzip would take all of it at once, for a claim up to DEFLATE_RATIO too large.
    """
    data = bytearray()
    while chunk := file.read(min(CHUNK_BYTES, most_bytes - len(data))):
        data += chunk
    return data
