"""The end of a SLURM job's supervisor: what it says, and whether the job is requeued."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from mnist_dist.errors import EXIT_SAVED, EXIT_USAGE, listing
from mnist_dist.launch import slurm_job
from mnist_dist.launch.decision import Action, Decision
from mnist_dist.launch.slurm_job import Job, State, say

AGAIN_S = 5.0


class Ending(NamedTuple):
    """What is known when the workers aren't started again in this job.

    Attributes:
        job: that ends or is requeued.
        state: of the job, after the last try.
        step: of the newest checkpoint.
        code: the last try's exit code.
        tried_s: seconds that it took.
        max_restarts: in a row without a newer checkpoint.
        batch: whether this is the batch script's process, whose end is the job's.
    """

    job: Job
    state: State
    step: int
    code: int
    tried_s: float
    max_restarts: int
    batch: bool

    def finish(self, decided: Decision) -> int:
        """Says how it ended and gives the allocation back; returns the exit code."""
        if decided.action is Action.DONE:
            say("finished")
            return self._leave(0)
        if decided.action is Action.REFUSED:
            say("not started, see above; not requeued")
            return self._leave(EXIT_USAGE)
        limit = " (MAX_RESTARTS)" if decided.tries > self.max_restarts else ""
        say(f"ended with exit code {self.code}: {decided.reason}{limit}")
        to_go_on = self.job.to_go_on
        if self.state.name != "RUNNING":
            say(
                f"the job is in state {self.state.name}: left to SLURM. If it isn't requeued, "
                f"submit the same again with {to_go_on}"
            )
            return self.code
        if decided.action is Action.GIVE_UP:
            say(f"left at step {self.step}; to go on, submit the same again with {to_go_on}")
            return self._leave(self.code)
        if self.code == EXIT_SAVED and self.tried_s < self.state.left_s < float("inf"):
            say(
                f"told to stop after {self.tried_s:.0f} s, with {self.state.left_s:.0f} s left of "
                "the time limit: most of a try is lost. Give more time (sbatch --time) or a "
                "shorter lead (sbatch --signal=USR2@SECONDS)"
            )
        if not slurm_job.requeue(self.job):
            say(f"can't be requeued here; to go on, submit the same again with {to_go_on}")
            return self._leave(self.code)
        say(f"requeued, to go on from step {self.step}")
        return self.code

    def _leave(self, code: int) -> int:
        """Has the job end with this process."""
        if self.batch:
            return code
        # Requeued, a finished run says so and ends with exit code 0.
        if code == 0 and self.state.can_requeue and slurm_job.requeue(self.job):
            say("requeued, to end with exit code 0")
        else:
            cancel(self.job)
        return code


def cancel(job: Job) -> None:
    """Cancels a job that has lost its batch script, and would hold its nodes until its time limit.

    Returns when SLURM is ending the job, if this process hasn't been ended with it.
    """
    say("cancels the job, which doesn't end by itself: its batch script is lost")
    slurm_job.answer("scancel", job.called)
    while slurm_job.state(job).name in ("", "RUNNING"):
        time.sleep(AGAIN_S)
        slurm_job.answer("scancel", job.called)


def advise(job: Job, left_s: float, lead_s: float) -> None:
    """Warns, at the job's first start, of a time limit that is too short.

    Args:
        job: that starts.
        left_s: seconds until its time limit.
        lead_s: seconds before the limit at which SLURM tells the tasks to stop.
    """
    if job.restart or left_s > lead_s:
        return
    say(
        f"the time limit leaves {left_s:.0f} s, and SLURM tells the tasks to stop {lead_s:.0f} s "
        "before it, unless you gave another --signal: a try can do little but start and save. "
        f"Give more time (sbatch --time={lead_s / 60 + 10:.0f}) or a shorter lead (sbatch "
        f"--signal=USR2@{left_s / 3:.0f}, and --stop_lead_s={left_s / 3:.0f} after the "
        "script's name)"
    )


def names(hosts: Sequence[str]) -> str:
    """Hosts for a message, each once, the first few of many."""
    return listing(list(dict.fromkeys(hosts)))
