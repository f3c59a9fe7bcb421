"""The cores and memory that this process may use, and what it has used."""

import math
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """CPU cores that this process may use, by its affinity and its cgroup's quota."""
    allowed = len(psutil.Process().cpu_affinity() or [0])
    quota = cgroup_cores(CGROUP, Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(allowed, quota)))


def available_cores() -> set[int]:
    """The cores that this process may use; empty where the system doesn't say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def set_cores(cores: set[int]) -> None:
    """Keeps this process, and those it starts, on some cores; all if the set is empty."""
    if cores:
        os.sched_setaffinity(0, cores)


def divide(cores: set[int], number: int) -> list[set[int]]:
    """The cores of each of a number of workers: neighbours together, shared if there are fewer.

    Each gets as many, and what is left over is idle. A step waits for the slowest worker, so more
    cores for others would gain nothing. Workers with other numbers of threads compute other bits,
    which then can't be compared, and can't send factors (see reduce_choice).
    """
    ordered = sorted(cores)
    if len(ordered) < number:
        return [{ordered[rank % len(ordered)]} if ordered else set() for rank in range(number)]
    each = len(ordered) // number
    return [set(ordered[each * rank : each * (rank + 1)]) for rank in range(number)]


def cgroup_cores(root: Path, membership: Path) -> float:
    """The cores that a process's cgroup and the groups above it allow; infinity without a limit.

    Args:
        root: where the cgroup file system is mounted.
        membership: the process's /proc/.../cgroup.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "cpu", "cpu,cpuacct"):
            continue
        base = root / controllers if controllers else root
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place == base or base in place.parents:
                least = min(least, _quota(place))
    return least


def _quota(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def memory(devices: Sequence[str]) -> dict[str, float]:
    """Bytes of memory in use by this process, and its peak on the first GPU."""
    found = {"memory_bytes": float(psutil.Process().memory_info().rss)}
    if devices[0].startswith("/gpu"):
        import tensorflow as tf  # not needed on a CPU

        found["gpu_memory_bytes"] = float(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return found


def used() -> dict[str, Any]:
    """Peak memory, CPU share and cores of this process: docs/files.md has the keys."""
    process = psutil.Process()
    times = process.cpu_times()
    wall_s = max(time.time() - process.create_time(), 1e-9)
    return {
        "hostname": socket.gethostname(),
        "cores": cores(),
        "machine_cores": os.cpu_count(),
        "peak_memory_bytes": _peak_memory_bytes(Path("/proc/self/status")),
        "cpu_percent": 100.0 * (times.user + times.system) / wall_s,
    }


def _peak_memory_bytes(status: Path) -> int:
    """The peak by Linux's own account; getrusage includes the parent's peak before exec."""
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
