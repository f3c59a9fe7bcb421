"""Reading what others wrote, so that nothing in it can hang, fill the memory or raise what isn't
expected: bounded in length and depth.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_DIGITS = 100


def read_text(path: Path, most_bytes: int) -> str:
    """A file's text.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no file, too long, or isn't text; or its name can't be one.
    """
    try:
        return read_bytes(path, most_bytes).decode()
    except UnicodeDecodeError as error:
        raise ValueError("isn't text") from error


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A file's contents.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no file (a FIFO or a device would hang) or too long; or its name can't be
            one.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for its writer
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is no file")
        if found.st_size > most_bytes:
            raise ValueError(f"has more than {most_bytes:,} bytes")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(most_bytes + 1)
    finally:
        os.close(handle)
    if len(data) > most_bytes:
        raise ValueError(f"has more than {most_bytes:,} bytes")
    return data


def loads(text: str) -> Any:
    """A JSON value.

    Raises:
        ValueError: it isn't JSON, or is nested too deeply, or has NaN or a number of thousands of
            digits.
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} isn't JSON")

    def whole(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_int=whole)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def whole_number(text: str, most: int) -> int | None:
    """Digits 0 to 9 as a number from 0 to `most`; None for anything else.

    `isdigit` takes other digits, which `int` doesn't, and `int` refuses thousands of them.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None
    return int(text) if int(text) <= most else None
