"""Replacing a file in one step: a reader sees the old contents or the new ones, never a mixture."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


def to_disk(path: Path) -> None:
    """Returns when a file, or a folder's list of names, is on the disk (fsync).

    Raises:
        OSError: it can't be brought there.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a hidden path to write to; on leaving, that file is synced and renamed to `path`.

    A link at `path` stays, and its target is replaced. The folder is made if it doesn't exist.

    Raises:
        OSError: the file can't be written, or `path` is a folder or a device; the hidden
            file is deleted, `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    if target.is_char_device() or target.is_block_device():  # which root could replace
        raise OSError(errno.EINVAL, "it is a device", str(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        to_disk(draft)
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def replace(path: Path, data: bytes) -> None:
    """Gives a file new contents in one step; they are on the disk when this returns.

    Raises:
        OSError: the file can't be written; it is as it was.
    """
    with replacing(path) as draft:
        draft.write_bytes(data)
