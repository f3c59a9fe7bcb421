"""The owner of a run's folder, described so that a process on any host can tell if it is alive."""

import os
import platform
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from mnist_dist import bounded

MOST_BYTES = 4096  # of a lock file
MOST_PID = 1 << 31


class Owner(NamedTuple):
    """A process that owns a folder.

    Attributes:
        job: the scheduler's job number; empty without a scheduler.
        restart: how often the job has been requeued.
        host: the host's name.
        system: identifies the boot and the container in which `pid` is valid.
        pid: the process number.
        started: when the process started, by the system's count, since numbers are reused.
        token: random, different for each claim.
    """

    job: str
    restart: int
    host: str
    system: str
    pid: int
    started: str
    token: str

    @classmethod
    def this_process(cls, job: str = "", restart: int = 0) -> "Owner":
        """This process, run by a scheduler's job after some restarts."""
        pid, host = os.getpid(), platform.node()
        return cls(job, restart, host, _system(host), pid, started(pid), secrets.token_hex(8))

    @property
    def gone(self) -> bool:
        """Whether it was a process of this machine that has ended."""
        return self.system == _system(platform.node()) and started(self.pid) != self.started

    def __str__(self) -> str:
        job = f"job {self.job}, " if self.job else ""
        return f"{job}host {self.host}, process {self.pid}"


def owner_of(text: str) -> Owner | None:
    """The owner from a lock file's text; None if the text is incomplete or isn't a lock's."""
    try:
        record: dict[str, Any] = bounded.loads(text)
        owner = Owner(*(record[name] for name in Owner._fields))
    except (ValueError, KeyError, TypeError):
        return None
    kinds = (str, int, str, str, int, str, str)
    fits = all(type(value) is kind for value, kind in zip(owner, kinds, strict=True))
    return owner if fits and 0 < owner.pid < MOST_PID else None


def _system(host: str) -> str:
    """Identifies this boot of this machine, and the container's process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return host


def started(pid: int) -> str:
    """When a process started; empty if there is no such process, "unknown" if it can't be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if stat[0] in "ZX" else stat[19]
    except OSError:
        pass
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.AccessDenied:
        return "unknown"
    except psutil.Error:
        return ""
