"""Records, in a file in the run's folder, which supervisor runs a job."""

import contextlib
import json

from mnist_dist import bounded
from mnist_dist.launch.slurm_job import Job
from mnist_dist.run.atomic import replace

RECORD = "launcher.json"
MOST_BYTES = 10_000


def claim(job: Job, host: str) -> None:
    """Notes that the supervisor on a host has the job's run.

    Raises:
        OSError: the run's folder can't be written to.
    """
    record = {"job": job.number, "restart": job.restart, "host": host}
    replace(job.folder / RECORD, json.dumps(record).encode())


def superseded_by(job: Job, host: str) -> str:
    """The host whose supervisor took this job's run from the one on `host`; empty if none did."""
    found = None
    with contextlib.suppress(OSError, ValueError):
        found = bounded.loads(bounded.read_text(job.folder / RECORD, MOST_BYTES))
    if not isinstance(found, dict) or found.get("job") != job.number:
        return ""
    other = str(found.get("host", ""))
    return other if found.get("restart") == job.restart and other != host else ""
