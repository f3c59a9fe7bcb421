"""Runs a training inside a SLURM job, and continues it when workers are lost.

launch/train.slurm starts it on the batch host, with the trainer's flags as its arguments.
"""

from mnist_dist import exits

exits.begin(__name__)

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mnist_dist.errors import UsageError
from mnist_dist.launch import slurm_job
from mnist_dist.launch.slurm_job import say
from mnist_dist.launch.slurm_settings import Run, Settings, quoted
from mnist_dist.launch.slurm_supervisor import Supervisor
from mnist_dist.launch.sweep import line_of
from mnist_dist.run.command import answer_help, answered


def main(argv: Sequence[str]) -> int:
    """Runs the job's training; returns the batch script's exit code."""
    return answered(lambda: _command(argv, os.environ))


def _command(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    if "SLURM_JOB_ID" not in environment:
        answer_help(argv, lambda: __doc__ or "")
        raise UsageError("SLURM_JOB_ID isn't set; start launch/train.slurm with sbatch")
    for program in ("srun", "scontrol"):
        if shutil.which(program) is None:
            raise UsageError(
                f"no {program} in this interpreter's PATH, as in a container; set "
                "MNIST_DIST_LAUNCHER to a Python outside of it that has mnist_dist and absl-py"
            )
    given = list(argv)
    if environment.get("MNIST_DIST_SWEEP"):
        index = int(environment.get("SLURM_ARRAY_TASK_ID", "0"))
        given = [*line_of(Path(environment["MNIST_DIST_SWEEP"]), index), *given]
    job = slurm_job.of(environment, Path.cwd())
    settings = Settings.read(environment, len(job.nodes))
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"can't make {job.folder} ({error.strerror}); set MNIST_DIST_RUNS to a folder that all "
            "nodes share"
        ) from error
    say(
        f"attempt {job.restart + 1} of job {job.called} on {environment['SLURM_JOB_NODELIST']}, "
        f"tasks per node {','.join(map(str, job.tasks))}, {time.strftime('%F %T')}"
    )
    say(f"folder {job.folder}, interpreter {' '.join(settings.python)}, flags: {quoted(given)}")
    return Supervisor(job, settings, Run.read(job.folder, given), environment).start()


if __name__ == "__main__":
    exits.end(main, needs_output=False)
