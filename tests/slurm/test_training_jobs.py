"""launch/train.slurm on a real SLURM: real, short trainings on the real MNIST.

All in float64, so that the order of sums changes a loss by less than 1e-9 and any other
difference (an example lost or seen twice, a gradient counted twice, another dropout mask) by
more than 1e-4. The network is small, the recipe the default's, dropout included.
"""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.slurm.conftest import ROOT
from tests.waiting import wait_for

TOLERANCE = 1e-8
FLAGS = [
    *("--precision=float64", "--batch_size=50", "--conv_filters=2,4", "--dense_units=16"),
    *("--validation_size=500", "--log_interval=1", "--steps_per_loop=5", "--epochs=100"),
    *("--connect_timeout=60", "--peer_timeout=6"),
]
STEPS = 3000


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses by step of a single process outside of SLURM, never interrupted."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run(
        [sys.executable, "-m", "mnist_dist.train", *FLAGS, f"--max_steps={STEPS}", "--no_gpu",
         "--steps_per_loop=100", f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"],
        check=True, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    rows = map(json.loads, (folder / "out/metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if row["split"] == "train"}


def assert_same_curve(job, alone, steps):
    losses = job.losses()
    assert sorted(losses) == list(range(1, steps + 1))
    worst = max(abs(losses[step] - alone[step]) for step in losses)
    assert worst < TOLERANCE, worst
    result = json.loads((job.run / "result.json").read_text())
    assert result["steps"] == steps
    return result


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        ("--nodes=1", 1),
        ("--nodes=2", 2),
        ("--nodes=3", 3),
        ("--nodes=2 --ntasks=3", 3),
        ("--nodes=2 --ntasks-per-node=2 --distribution=cyclic", 4),
        ("--nodes=2 --gpus-per-node=2 --cpus-per-task=2", 2),
        ("--nodes=2 --ntasks-per-node=2 --gpus-per-task=1", 4),
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


@pytest.mark.parametrize("name", ["USR2", "TERM"])
def test_a_signal_saves_and_requeues(cluster, submit, alone, name):
    job = submit(["--nodes=2"], flags=[*FLAGS, "--max_steps=150", "--eager"]).wait_step(20)
    cluster.ask("scancel", f"--signal={name}", job.number)
    job.wait_log("train.slurm: requeued").wait()
    assert job.log.count("train.slurm: attempt") == 2
    assert f"Stopped by SIG{name}" in job.log
    assert "Goes on from" in job.log
    assert_same_curve(job, alone, 150)
    job.wait()  # a finished job is never requeued
    assert cluster.job(job.number)["Restarts"] == "1"


def test_requeued_by_the_operator(cluster, submit, alone):
    job = submit(["--nodes=2"], flags=[*FLAGS, "--max_steps=150", "--eager"]).wait_step(20)
    cluster.ask("scontrol", "requeue", job.number)
    job.wait_log("train.slurm: attempt 2").wait_log("train.slurm: finished").wait()
    assert job.log.count("train.slurm: attempt") == 2
    assert "left to SLURM" in job.log
    assert_same_curve(job, alone, 150)
    cluster.ask("scontrol", "requeue", job.number)  # of a finished run: it says so
    job.wait_log("train.slurm: attempt 3").wait_log("train.slurm: finished", times=2).wait()
    assert "This run is finished" in job.log
    assert_same_curve(job, alone, 150)


def test_the_time_limit(submit, alone):
    flags = [*FLAGS, f"--max_steps={STEPS}", "--eager"]
    job = submit(["--nodes=1", "--time=1", "--signal=USR1@20"], flags=flags)
    job.wait_log("train.slurm: attempt 2", deadline_s=120)
    job.wait_log("Goes on from")
    assert "Stopped by SIGUSR1" in job.log
    job.cluster.ask("scancel", job.number)
    job.wait("CANCELLED")
    losses = job.losses()
    assert sorted(losses) == list(range(1, len(losses) + 1))  # no gap where it was stopped
    assert max(abs(losses[step] - alone[step]) for step in losses) < 1e-6  # thousands of steps
    assert "state COMPLETING: left to SLURM" in job.log  # a cancelled job isn't requeued


def test_a_worker_killed(cluster, submit, alone):
    flags = [*FLAGS, "--max_steps=150", "--eager", "--checkpoint_every_steps=25"]
    job = submit(["--nodes=3"], flags=flags).wait_step(30)
    os.kill(trainer_on(cluster, "n2"), signal.SIGKILL)
    job.wait_log("train.slurm: requeued").wait()
    assert "worker 1" in job.log
    assert "n2" in job.log
    assert job.log.count("train.slurm: attempt") == 2
    assert_same_curve(job, alone, 150)


def test_a_node_cut_off_the_network(cluster, submit, alone):
    flags = [*FLAGS, "--max_steps=150", "--eager", "--checkpoint_every_steps=25"]
    job = submit(["--nodes=3"], flags=flags).wait_step(30)
    cut_off = psutil.Process(trainer_on(cluster, "n3"))
    cluster.set_link("n3", "down")
    try:
        job.wait_log("worker 2")  # the others say who is gone
        wait_for("the end of the cut-off worker", lambda: not cut_off.is_running(), 60)
        for node in ("n1", "n2"):
            wait_for("the end of the others", lambda n=node: not trainers_on(cluster, n), 60)
    finally:
        cluster.set_link("n3", "up")
    job.wait_log("train.slurm: attempt 2", deadline_s=120).wait(deadline_s=200)
    assert_same_curve(job, alone, 150)


@pytest.mark.parametrize("partition", ["low", "grace"])
def test_preempted_by_a_job_of_higher_priority(cluster, submit, alone, partition):
    """Without a grace time SLURM ends it, for which KillWait gives time, and requeues it itself."""
    options = ["--nodes=2", "--nodelist=n1,n2", f"--partition={partition}"]
    flags = [*FLAGS, "--max_steps=150", "--eager", "--checkpoint_every_steps=10"]
    job = submit(options, flags=flags).wait_step(20)
    first = ["--nodes=2", "--nodelist=n1,n2", "--partition=high", "--exclusive", "--wrap=exit"]
    cluster.ask("sbatch", "--parsable", "--output=/dev/null", *first)
    job.wait_log("train.slurm: attempt 2").wait_log("Goes on from")
    assert "Stopped by SIGTERM: saved" in job.log
    assert ("train.slurm: requeued" in job.log) == (partition == "grace")
    job.wait_log("train.slurm: finished").wait()
    assert job.log.count("train.slurm: attempt") == 2
    assert_same_curve(job, alone, 150)


def test_suspended_and_resumed(cluster, submit, alone):
    """For longer than --peer_timeout: nobody was silent, since nobody ran."""
    job = submit(["--nodes=2"], flags=[*FLAGS, "--max_steps=150", "--eager"]).wait_step(20)
    cluster.ask("scontrol", "suspend", job.number)
    job.wait("SUSPENDED")
    resume = time.monotonic() + 10
    wait_for("more than the peer timeout", lambda: time.monotonic() > resume, 20)
    assert max(job.losses()) < 150
    cluster.ask("scontrol", "resume", job.number)
    job.wait()
    assert job.log.count("train.slurm: attempt") == 1
    assert "silent" not in job.log
    assert_same_curve(job, alone, 150)


def test_names_that_resolve_late(cluster, submit, alone):
    """And then to an IPv6 address only."""
    flags = [*FLAGS, "--max_steps=30"]
    job = submit(["--nodes=2", "-wn1,n2"], flags=flags, MNIST_DIST_HOST_SUFFIX="-late")
    job.wait_log("host 'n1-late' of worker 0 can't be found yet")
    cluster.add_name("n1-late", "n1")
    job.wait_log("host 'n2-late' of worker 1 can't be found yet")
    cluster.add_name("n2-late", "n2")
    assert_same_curve(job.wait(), alone, 30)


def trainers_on(cluster, node):
    found = []
    for pid in cluster.pids(node):
        try:
            words = psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            continue
        if "mnist_dist.train" in words and "python" in words[0]:
            found.append(pid)
    return found


def trainer_on(cluster, node):
    [pid] = trainers_on(cluster, node)
    return pid
