"""A file by which workers find worker 0 where no starter lists the hosts.

Worker 0 writes its addresses, its port and the run's token to a hidden file in a folder that all
workers see, and deletes it when all have met. Only its user can read it. The name depends on the
start of the run as far as the starter's variables tell starts apart. The token is random, so worker
0 doesn't admit a worker that has read a file of another start; that one reads the file again.
"""

import contextlib
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_dist import bounded
from mnist_dist.bounded import whole_number
from mnist_dist.cluster.address import join, split
from mnist_dist.errors import UsageError

PREFIX = ".meeting-"
MOST_BYTES = 10_000
MOST_ADDRESSES = 64
STALE_S = 24 * 3600.0  # after which a file that a killed worker 0 has left is deleted


class Found(NamedTuple):
    """What a meeting's file says.

    Attributes:
        addresses: of worker 0's host, to be tried in this order.
        port: on which it listens.
        token: by which it admits workers.
    """

    addresses: tuple[str, ...]
    port: int
    token: str


def path(folder: str, attempt: str) -> Path:
    """Returns the file's path.

    Args:
        folder: that all workers see.
        attempt: the topology's token, which names a start of the run.
    """
    digest = hashlib.sha256(attempt.encode()).hexdigest()[:16]
    return Path(folder).absolute() / f"{PREFIX}{digest}"


@contextlib.contextmanager
def published(file: Path, addresses: Sequence[str], port: int) -> Iterator[str]:
    """Lets the other workers find this one, worker 0, until the context ends.

    Args:
        file: from `path`.
        addresses: of this host.
        port: on which this worker listens.

    Yields:
        The token by which the others are admitted.

    Raises:
        UsageError: the file can't be written.
    """
    token = secrets.token_hex(16)
    content = {"addresses": list(addresses)[:MOST_ADDRESSES], "port": port, "token": token}
    made = [parent for parent in file.parents if not parent.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _delete_stale(file.parent)
        _write(file, json.dumps(content).encode())
    except OSError as error:
        raise UsageError(
            f"the workers meet by a file in {file.parent}, which can't be written "
            f"({error.strerror}); give a --run_dir that all hosts share, or set MASTER_ADDR and "
            "MASTER_PORT"
        ) from error
    try:
        yield token
    finally:
        with contextlib.suppress(OSError, ValueError):
            if read(file).token == token:  # not another's, that was started meanwhile
                file.unlink()
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def read(file: Path) -> Found:
    """Returns what worker 0 has written.

    Raises:
        OSError: there is no such file, or it can't be read.
        ValueError: it isn't worker 0's, or belongs to another user.
    """
    with contextlib.suppress(OSError):
        os.listdir(file.parent)  # a network file system may remember that the file wasn't there
    status = os.lstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise ValueError("belongs to another user")
    found = bounded.loads(bounded.read_text(file, MOST_BYTES))
    if not isinstance(found, dict) or set(found) != set(Found._fields):
        raise ValueError("isn't worker 0's")
    addresses, port, token = (found[name] for name in Found._fields)
    good = isinstance(addresses, list) and 0 < len(addresses) <= MOST_ADDRESSES
    if not good or not isinstance(token, str) or not whole_number(str(port), 65535):
        raise ValueError("isn't worker 0's")
    for address in addresses:
        split(join(str(address), int(port)))
    return Found(tuple(map(str, addresses)), int(port), token)


def _write(file: Path, data: bytes) -> None:
    """Replaces the file in one step; it is readable by this user alone from its first moment on."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(draft, file)


def _delete_stale(folder: Path) -> None:
    for old in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > STALE_S:
                old.unlink()
