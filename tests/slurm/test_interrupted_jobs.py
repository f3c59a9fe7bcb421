"""launch/train.slurm on a real SLURM: trainings that meet a time limit, are preempted, suspended.

The curves are compared as in test_training_jobs.py.
"""

import time

import psutil
import pytest

from tests.held import DEADLINE_S
from tests.slurm.conftest import FLAGS, STEPS, TOLERANCE, assert_same_curve
from tests.waiting import wait_for


def test_the_time_limit(cluster, submit, alone):
    """It comes near when the trainer has begun, however long that took."""
    options = ["--nodes=1", "--time=60", "--signal=USR1@20"]
    job = submit(options, flags=[*FLAGS, f"--max_steps={STEPS}"], hold_at="20,60")
    job.held(20, tasks=1)
    cluster.ask("scontrol", "update", f"JobId={job.number}", "EndTime=now+60")
    job.wait_log("train.slurm: requeued")
    cluster.ask("scontrol", "update", f"JobId={job.number}", "TimeLimit=60")
    job.wait_log("train.slurm: attempt 2")
    job.held(60, tasks=1)
    assert "Goes on from" in job.log
    assert "Stopped by SIGUSR1" in job.log
    cluster.ask("scancel", job.number)
    job.wait("CANCELLED").wait_log("state COMPLETING: left to SLURM")  # it isn't requeued
    losses = job.losses()
    assert sorted(losses) == list(range(1, len(losses) + 1))  # no gap where it was stopped
    assert max(abs(losses[step] - alone[step]) for step in losses) < TOLERANCE


@pytest.mark.parametrize("partition", ["low", "grace"])
def test_preempted_by_a_job_of_higher_priority(cluster, submit, alone, partition):
    """Without a grace time SLURM ends it, for which KillWait gives time, and requeues it itself."""
    options = ["--nodes=1", "--nodelist=n1", f"--partition={partition}"]
    job = submit(options, flags=[*FLAGS, "--max_steps=60"], hold_at="20")
    job.held(20, tasks=1)
    first = ["--nodes=1", "--nodelist=n1", "--partition=high", "--exclusive", "--wrap=exit"]
    cluster.ask("sbatch", "--parsable", "--output=/dev/null", *first)
    job.wait_log("train.slurm: attempt 2").wait_log("Goes on from")
    assert "Stopped by SIGTERM: saved" in job.log
    assert ("train.slurm: requeued" in job.log) == (partition == "grace")
    job.wait_log("train.slurm: finished").wait()
    assert job.log.count("train.slurm: attempt") == 2
    assert_same_curve(job, alone, 60)


def test_suspended_and_resumed(cluster, submit, alone):
    """For longer than --peer_timeout: nobody was silent, since nobody ran."""
    job = submit(["--nodes=2"], flags=[*FLAGS, "--max_steps=60"], hold_at="20")
    trainers = job.held(20, tasks=2)
    cluster.ask("scontrol", "suspend", job.number)
    job.wait("SUSPENDED")

    def stopped():
        return all(trainer.status() == psutil.STATUS_STOPPED for trainer in trainers)

    wait_for("stopped trainers", stopped, DEADLINE_S)
    resume = time.monotonic() + 10
    wait_for("more than the peer timeout", lambda: time.monotonic() > resume, 20)
    job.release(20)
    cluster.ask("scontrol", "resume", job.number)
    job.wait()
    assert job.log.count("train.slurm: attempt") == 1
    assert "silent" not in job.log
    assert_same_curve(job, alone, 60)
