"""launch/train.slurm on a real SLURM: real, short trainings on the real MNIST.

All in float64, so that the order of sums changes a loss by less than 1e-9 and any other
difference (an example lost or seen twice, a gradient counted twice, another dropout mask) by
more than 1e-4. The network is small, the recipe the default's, dropout included.
"""

import pytest

from tests.slurm.conftest import FLAGS, assert_same_curve


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        ("--nodes=1", 1),
        ("--nodes=2 --ntasks=3", 3),
        ("--nodes=2 --gpus-per-node=2 --cpus-per-task=2", 2),
        ("--nodes=2 --ntasks-per-node=2 --gpus-per-task=1 --distribution=cyclic", 4),
    ],
)
def test_the_curve_of_a_single_process(submit, alone, options, workers):
    job = submit(options.split(), flags=[*FLAGS, "--max_steps=60"]).wait()
    assert assert_same_curve(job, alone, 60)["num_workers"] == workers
    assert "Traceback" not in job.log
    assert f"Replicas: {workers} over {workers} worker(s)" in job.log
    assert job.log.count("Test set") == 1  # the chief alone speaks


def test_two_jobs_at_once_on_the_same_nodes(submit, alone):
    options = ["--nodes=2", "--nodelist=n1,n2"]
    flags = [*FLAGS, "--max_steps=60"]
    jobs = [
        submit(options, flags=flags),
        submit(options, flags=flags, MNIST_DIST_HOST_SUFFIX="-ib"),
    ]
    for job in jobs:
        assert_same_curve(job.wait(), alone, 60)


def test_told_to_stop_by_hand_it_goes_on_in_the_allocation(cluster, submit, alone):
    """USR2; SIGTERM is what preemption sends: test_interrupted_jobs.py."""
    job = submit(["--nodes=2"], flags=[*FLAGS, "--max_steps=60"], hold_at="20")
    job.held(20, tasks=2)
    cluster.ask("scancel", "--signal=USR2", job.number)
    job.wait()
    assert "Stopped by SIGUSR2" in job.log
    assert "saved when told to stop: goes on from step" in job.log
    assert_same_curve(job, alone, 60)
    assert cluster.job(job.number)["Restarts"] == "0"


def test_requeued_by_the_operator(cluster, submit, alone):
    job = submit(["--nodes=1"], flags=[*FLAGS, "--max_steps=60"], hold_at="20")
    job.held(20, tasks=1)
    cluster.ask("scontrol", "requeue", job.number)
    job.wait_log("train.slurm: attempt 2").wait_log("train.slurm: finished").wait()
    assert job.log.count("train.slurm: attempt") == 2
    assert "left to SLURM" in job.log
    assert_same_curve(job, alone, 60)
    cluster.ask("scontrol", "requeue", job.number)  # of a finished run: it says so
    job.wait_log("train.slurm: attempt 3").wait_log("train.slurm: finished", times=2).wait()
    assert "This run is finished" in job.log
    assert_same_curve(job, alone, 60)


def test_names_that_resolve_late(cluster, submit, alone):
    """And then to an IPv6 address only."""
    flags = [*FLAGS, "--max_steps=30"]
    job = submit(["--nodes=2", "-wn1,n2"], flags=flags, MNIST_DIST_HOST_SUFFIX="-late")
    job.wait_log("host 'n1-late' of worker 0 can't be found yet")
    cluster.add_name("n1-late", "n1")
    job.wait_log("host 'n2-late' of worker 1 can't be found yet")
    cluster.add_name("n2-late", "n2")
    assert_same_curve(job.wait(), alone, 30)
