"""The scheduler's job that this process belongs to, and how often it was requeued."""

from collections.abc import Mapping
from typing import NamedTuple


class Job(NamedTuple):
    """A try of a job.

    Attributes:
        number: the scheduler's; empty where there is none.
        restart: how often it has been requeued.
    """

    number: str
    restart: int


def of(environment: Mapping[str, str]) -> Job:
    """Reads SLURM's variables; of an array, each element is a job of its own."""
    count = environment.get("SLURM_RESTART_COUNT", "")
    restart = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 0
    return Job(environment.get("SLURM_JOB_ID", ""), restart)
