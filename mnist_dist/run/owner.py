"""Who has a run's folder: named so that another process, maybe elsewhere, can tell if it lives."""

import os
import platform
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from mnist_dist import bounded

MOST_BYTES = 4096  # of a lock
MOST_PID = 1 << 31


class Owner(NamedTuple):
    """Who has a folder.

    Attributes:
        job: the scheduler's number of the job; empty for none.
        restart: how often it has been requeued.
        host: where it runs.
        system: where its process number means something: this boot, this container.
        pid: its process.
        started: when that was started, as the system counts; numbers are used again.
        token: of this one claim.
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
        """This process, as the scheduler's job with its count of restarts."""
        pid, host = os.getpid(), platform.node()
        return cls(job, restart, host, _system(host), pid, started(pid), secrets.token_hex(8))

    @property
    def gone(self) -> bool:
        """Whether it was a process of this machine that isn't there any more."""
        return self.system == _system(platform.node()) and started(self.pid) != self.started

    def __str__(self) -> str:
        job = f"job {self.job}, " if self.job else ""
        return f"{job}host {self.host}, process {self.pid}"


def owner_of(text: str) -> Owner | None:
    """From a lock's text; None where it is no whole one."""
    try:
        record: dict[str, Any] = bounded.loads(text)
        owner = Owner(*(record[name] for name in Owner._fields))
    except (ValueError, KeyError, TypeError):
        return None
    kinds = (str, int, str, str, int, str, str)
    fits = all(type(value) is kind for value, kind in zip(owner, kinds, strict=True))
    return owner if fits and 0 < owner.pid < MOST_PID else None


def _system(host: str) -> str:
    """Names this boot of this machine, and the container if processes have numbers of its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return host


def started(pid: int) -> str:
    """When a process was started; empty where there is none."""
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
