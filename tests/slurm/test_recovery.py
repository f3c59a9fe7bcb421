"""launch/train.slurm on a real SLURM that loses tasks and nodes: it goes on in the allocation.

SlurmdTimeout is SLURM's default, 300 s: nothing here waits for it. The curves are compared as in
test_training_jobs.py.
"""

import json
import shlex
import shutil
import sys

import pytest

from tests import warm
from tests.held import DEADLINE_S
from tests.slurm.conftest import FLAGS, IMAGES, ROOT, assert_same_curve, with_images
from tests.waiting import wait_for

RUN = [*FLAGS, "--max_steps=60", "--checkpoint_every_steps=10"]


@pytest.fixture
def lose(cluster):
    """Loses nodes, by their power or their link; all are back afterwards."""
    lost = []

    def one(node, how):
        lost.append(node)
        if "link" in how:
            cluster.set_link(node, "down")
        if "power" in how:
            cluster.kill_node(node)
        if "DOWN" in how:
            cluster.set_down(node)

    yield one
    for node in lost:
        cluster.revive(node)


def restarts(cluster, job):
    return cluster.job(job.number)["Restarts"]


def test_a_killed_task_is_started_again_and_twice_on_a_host_leaves_it_out(cluster, submit, alone):
    """While another user's job waits for the nodes."""
    job = submit(["--nodes=3"], flags=RUN, hold_at="20,40")
    job.held(20, tasks=3)
    waiting = cluster.ask("sbatch", "--parsable", "--nodes=3", "--exclusive", "--wrap=exit")
    job.held(20, tasks=3)[1].kill()
    held = job.held(40, tasks=3)
    job.wait_log("worker 1 (n2) killed: goes on from step 10 on n1, n2, n3\n")
    held[1].kill()
    job.wait_log("worker 1 (n2) killed: goes on from step 30 on n1, n3; idle: n2 (")
    assert cluster.job(waiting)["JobState"] == "PENDING"
    job.wait()
    assert restarts(cluster, job) == "0"
    assert assert_same_curve(job, alone, 60)["num_workers"] == 2


def test_a_spare_replaces_a_dead_node_and_then_one_goes_on_alone(cluster, submit, alone, lose):
    """First before SLURM knows that the node is dead, then after the operator has said so."""
    job = submit(["--nodes=3"], flags=RUN, hold_at="20,40", MNIST_DIST_SPARES="1")
    job.held(20, tasks=2)
    assert "trains on n1, n2; idle: n3 (MNIST_DIST_SPARES)" in job.log
    lose("n2", "power")
    job.held(40, tasks=2)
    job.wait_log("worker 1 (n2) lost: goes on from step 10 on n1, n3\n")
    lose("n3", "power DOWN")
    job.wait_log("worker 1 (n3) lost: goes on from step 30 on n1\n")
    job.wait_log("train.slurm: finished")
    lose("n2", "DOWN")  # else SLURM ends the job when it gives the node up
    job.wait()
    assert restarts(cluster, job) == "0"
    assert assert_same_curve(job, alone, 60)["num_workers"] == 1


def test_a_silent_node(cluster, submit, alone, lose):
    job = submit(["--nodes=3"], flags=RUN, hold_at="20")
    cut_off = job.held(20, tasks=3)[2]
    lose("n3", "link")
    job.wait_log("worker 2 (n3) silent: goes on from step 10 on n1, n2\n")
    wait_for("the end of the cut-off worker", lambda: not cut_off.is_running(), DEADLINE_S)
    job.wait_log("train.slurm: finished")
    cluster.revive("n3")
    job.wait()
    assert restarts(cluster, job) == "0"
    assert assert_same_curve(job, alone, 60)["num_workers"] == 2


@pytest.mark.parametrize("how", ["link", "power DOWN"])
def test_the_batch_host_lost(cluster, submit, alone, lose, how):
    """Its standby trains on; the job is requeued at the end, to end with exit code 0."""
    job = submit(["--nodes=3"], flags=RUN, hold_at="20")
    job.held(20, tasks=3)
    job.saved(10)
    lose("n1", how)
    job.wait_log("n1, where this script ran, doesn't answer: n2 goes on in its place")
    job.wait_log("worker 0 (n1) lost: goes on from step 10 on n2, n3\n")
    job.wait_log("train.slurm: finished")
    assert assert_same_curve(job, alone, 60)["num_workers"] == 2
    cluster.revive("n1")
    job.wait_log("train.slurm: attempt 2").wait_log("This run is finished").wait()
    assert_same_curve(job, alone, 60)


@pytest.fixture
def refusing(tmp_path):
    """MNIST_DIST_LAUNCHER for a site where `scontrol requeue` is refused."""
    scontrol = tmp_path / "site/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(
        "#!/bin/sh\n"
        "[ $1 != requeue ] || { echo Requested operation is presently disabled; exit 1; }\n"
        f'exec {shutil.which("scontrol")} "$@"\n'
    )
    scontrol.chmod(0o755)
    return f"env PATH={scontrol.parent}:/usr/bin:/bin {sys.executable}"


def test_the_batch_host_lost_where_requeueing_is_refused(cluster, submit, alone, lose, refusing):
    """Its standby trains on and cancels the job, which nothing else would end."""
    job = submit(["--nodes=3"], flags=RUN, hold_at="20", MNIST_DIST_LAUNCHER=refusing)
    job.held(20, tasks=3)
    job.saved(10)
    lose("n1", "power DOWN")
    job.wait_log("worker 0 (n1) lost: goes on from step 10 on n2, n3\n")
    job.wait_log("train.slurm: finished\n").wait_log("train.slurm: cancels the job")
    job.wait("CANCELLED")
    assert "presently disabled" in job.log
    assert restarts(cluster, job) == "0"
    assert assert_same_curve(job, alone, 60)["num_workers"] == 2


def test_too_few_nodes_and_no_requeue(cluster, submit, alone, lose):
    """The standby says how to go on, and another job does."""
    options, least = ["--nodes=2", "--no-requeue"], {"MNIST_DIST_MIN_NODES": "2"}
    job = submit([*options, "--nodelist=n1,n2"], flags=RUN, hold_at="20", **least)
    job.held(20, tasks=2)
    job.saved(10)
    lose("n1", "power DOWN")
    job.wait_log("1 worker(s) can be started here, at least 2 are needed").wait("CANCELLED")
    [line] = [line for line in job.log.splitlines() if "to go on, submit the same again" in line]
    assert shlex.split(line.partition("with ")[2]) == [f"MNIST_DIST_RUN_DIR={job.run}"]
    again = submit(options, flags=RUN, MNIST_DIST_RUN_DIR=str(job.run), **least).wait()
    assert "Goes on from" in again.log
    assert_same_curve(job, alone, 60)


@pytest.mark.parametrize("requeue", [True, False])
def test_the_only_node_lost(submit, alone, lose, requeue):
    """No standby: SLURM itself ends the job and requeues it if it may."""
    options = ["--nodes=1"] if requeue else ["--nodes=1", "--no-requeue"]
    job = submit(options, flags=RUN, hold_at="20")
    job.held(20, tasks=1)
    job.saved(10)
    lose("n1", "power DOWN")
    if not requeue:
        job.wait("NODE_FAIL")
        return
    job.wait_log("train.slurm: attempt 2").wait()
    assert "Goes on from" in job.log
    assert_same_curve(job, alone, 60)


SHARDS = [
    *(IMAGES, "--no_gpu", "--shards=4", "--conv_filters=2,4", "--dense_units=16"),
    *("--batch_size=50", "--validation_size=500", "--max_steps=60", "--checkpoint_every_steps=10"),
    *("--log_interval=1", "--steps_per_loop=5", "--peer_timeout=6"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, images):
    """The folder of a run of one process with the flags SHARDS."""
    folder = tmp_path_factory.mktemp("undisturbed")
    flags = [*with_images(SHARDS, images), f"--run_dir={folder}"]
    command = [sys.executable, "-m", "mnist_dist.train", *flags]
    warm.run(command, check=True, cwd=ROOT, capture_output=True)
    return folder


def assert_same_bits(job, undisturbed, num_workers):
    result, whole = (
        json.loads((path / "result.json").read_text()) for path in (job.run, undisturbed)
    )
    assert result["num_workers"] == num_workers
    assert result["weights_sha256"] == whole["weights_sha256"]
    metrics = [path / "metrics.jsonl" for path in (job.run, undisturbed)]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()


def test_shards_from_four_tasks_to_two(cluster, submit, lose, undisturbed):
    job = submit(["--nodes=2", "--ntasks-per-node=2"], flags=SHARDS, hold_at="20")
    job.held(20, tasks=4)
    lose("n2", "power DOWN")
    job.wait_log("goes on from step 10 on n1\n").wait()
    assert_same_bits(job, undisturbed, 2)
    assert restarts(cluster, job) == "0"


def test_a_node_that_computes_wrong_bits(cluster, submit, undisturbed):
    """From step 11 on, each gradient of one layer on n2; n1, with two tasks, and n3 outvote it."""
    fault = {"kind": "gradient", "name": "conv1/kernel", "host": "n2", "step": 10, "always": True}
    planted = f"{ROOT}/tests/slurm/faulty.py {json.dumps(fault, separators=(',', ':'))}"
    job = submit(
        ["--nodes=3", "--ntasks=4"],
        flags=[*SHARDS, "--check_every_steps=6"],
        MNIST_DIST_PYTHON=f"{sys.executable} {planted}",
    ).wait()
    line = "step 12: gradients that were computed twice differ: wrong bits on worker 2 (host n2)"
    assert f"{line} /cpu:0: conv1/kernel; nothing was saved over" in job.log
    assert "worker 2 (n2) suspected of wrong bits: goes on from step 10 on n1; idle: " in job.log
    assert "idle: n2 (left out), n3 (--shards=4)\n" in job.log
    assert_same_bits(job, undisturbed, 2)
    assert restarts(cluster, job) == "0"
