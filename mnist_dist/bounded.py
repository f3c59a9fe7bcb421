"""Reading untrusted files and JSON with bounds on length and depth.

Whatever the input is, reading it neither hangs nor fills the memory, and it raises only what the
docstrings list.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

MOST_DIGITS = 100


def read_text(path: Path, most_bytes: int) -> str:
    """A file's text.

    Args:
        path: the file.
        most_bytes: the greatest length that is read.

    Raises:
        OSError: it can't be opened.
        ValueError: it isn't a regular file, is too long or isn't UTF-8; or the name isn't valid.
    """
    try:
        return read_bytes(path, most_bytes).decode()
    except UnicodeDecodeError as error:
        raise ValueError("isn't text") from error


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A file's contents.

    Args:
        path: the file.
        most_bytes: the greatest length that is read.

    Raises:
        OSError: it can't be opened.
        ValueError: it isn't a regular file (reading a FIFO or a device could hang) or is too long;
            or the name isn't valid.
    """
    with open_file(path) as file:
        # The size first: of a sparse file, reading would fill the memory with zeros.
        if os.fstat(file.fileno()).st_size <= most_bytes:
            data = file.read(most_bytes + 1)
            if len(data) <= most_bytes:
                return data
    raise ValueError(f"has more than {most_bytes:,} bytes")


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Opens a regular file for reading; never waits for a writer, as opening a FIFO would.

    Args:
        path: the file.

    Raises:
        OSError: it can't be opened.
        ValueError: it isn't a regular file; or the name isn't valid.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise ValueError("is no file")
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def loads(text: str) -> Any:
    """Parses JSON.

    Raises:
        ValueError: it isn't JSON, is nested too deeply, or has NaN, infinity or an integer of more
            than MOST_DIGITS digits.
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} isn't JSON")

    def integer(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_int=integer)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def whole_number(text: str, most: int) -> int | None:
    """The number that some ASCII digits spell, from 0 to `most`; None for anything else.

    `isdigit` alone accepts digits that `int` refuses, and `int` refuses thousands of digits.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None
    return int(text) if int(text) <= most else None
