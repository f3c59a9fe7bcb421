"""Facts of one worker: its machine, data and folders. Needs no TensorFlow."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from mnist_dist import __version__
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.devices import resources
from mnist_dist.errors import UsageError
from mnist_dist.run.folders import writable
from mnist_dist.run.versions import source_digest, versions

PROBE = ".mnist_dist-doctor"
SEEN_S = 3.0  # a network file system may take a moment


def machine(config: Config, rank: int, address: str) -> dict[str, Any]:
    """Returns rank, host, cores, memory in bytes, versions and flags.

    Args:
        config: the run's flags.
        rank: this worker's number.
        address: where the others reach it, host:port; empty for one worker.
    """
    memory = psutil.virtual_memory()
    return {
        "rank": rank,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "address": address,
        "cores": resources.cores(),
        "machine_cores": os.cpu_count(),
        "memory_bytes": memory.total,
        "memory_free_bytes": memory.available,
        "versions": {
            **versions(),
            "mnist_dist": f"{__version__} (source {source_digest()})",
        },
        "flags": config.as_dict(),
    }


def data(config: Config) -> dict[str, Any]:
    """Returns the data's source and fingerprint, or why they can't be read."""
    try:
        found = sources.load(*config.data_flags)
    except UsageError as error:
        return {"data": "", "data_fingerprint": "", "data_problem": str(error)}
    return {"data": found.source, "data_fingerprint": found.fingerprint, "data_problem": ""}


def now_s() -> float:
    """Returns the time of this machine's clock, in seconds."""
    return time.time()


@contextlib.contextmanager
def probe(folder: str, chief: bool) -> Iterator[str]:
    """Worker 0 creates a file in the checkpoint folder, for the others to find, and deletes it.

    Yields:
        Why worker 0 can't write there; empty if it can.
    """
    if not chief:
        yield ""
        return
    path = Path(folder).absolute()
    made = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        writable(path, "--checkpoint_dir")
        path.mkdir(parents=True, exist_ok=True)
        (path / PROBE).touch()
    except UsageError as error:
        yield str(error)
    else:
        yield ""
        (path / PROBE).unlink(missing_ok=True)
    for created in made:
        with contextlib.suppress(OSError):
            created.rmdir()


def probe_problem(folder: str, gather: Callable[[Any], Sequence[Any]]) -> str:
    """Returns that this worker doesn't find the probe within SEEN_S; empty if it does.

    All workers call it.
    """
    until = time.monotonic() + SEEN_S
    while not (Path(folder) / PROBE).exists() and time.monotonic() < until:
        time.sleep(0.05)
    seen = (Path(folder) / PROBE).exists()
    gather(seen)  # worker 0 deletes the probe after all have looked for it
    return "" if seen else f"{folder} isn't worker 0's folder of that name"
