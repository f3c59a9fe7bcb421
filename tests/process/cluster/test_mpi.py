"""A real mpirun starts the workers, which find each other by a file in --run_dir."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests import warm
from tests.process.trainer import ROOT, SMALL, environment

OPEN_MPI = ("mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none")
MPICH = ("mpiexec.hydra",)
NAMES = ("OMPI_", "PMI", "RANK", "WORLD_SIZE", "MASTER_")


@pytest.fixture(scope="module")
def short(subset):
    """Flags of a short training."""
    steps = ("--max_steps=20", "--validation_size=500", "--batch_size=48", "--shards=4")
    return (*SMALL, f"--data_dir={subset}", *steps)


def started(command, **more):
    variables = {k: v for k, v in environment().items() if not k.startswith(NAMES)} | more
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=240
    )


def mpirun(number, module, *flags, command=OPEN_MPI):
    if not shutil.which(command[0]):
        assert not os.environ.get("CI"), "Debian's openmpi-bin and mpich aren't installed"
        pytest.skip(f"no {command[0]} (Debian: openmpi-bin mpich)")
    return started([*command, "-n", str(number), sys.executable, "-m", module, *flags])


def outcome(folder):
    result = json.loads((folder / "result.json").read_text())
    return result["weights_sha256"], result["num_workers"], result["num_replicas"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, short):
    """The weights of one process."""
    run = tmp_path_factory.mktemp("alone")
    alone = [sys.executable, "-m", "mnist_dist.train", *short, f"--run_dir={run}"]
    warm.run(alone, cwd=ROOT, env=environment(), check=True, capture_output=True)
    return outcome(run)[0]


@pytest.mark.parametrize(
    ("command", "number"),
    [(OPEN_MPI, 2), (OPEN_MPI, 4), (MPICH, 2)],
    ids=["Open MPI, 2", "Open MPI, 4", "MPICH, 2"],
)
def test_the_processes_train_one_run_with_the_bits_of_one(
    tmp_path, short, weights, command, number
):
    run = tmp_path / "run"
    done = mpirun(number, "mnist_dist.train", *short, f"--run_dir={run}", command=command)
    assert done.returncode == 0, done.stderr
    assert outcome(run) == (weights, number, number)
    assert not list(run.glob(".meeting*"))


def test_the_doctor_shows_how_they_share_the_host(tmp_path, short):
    done = mpirun(2, "mnist_dist.doctor", *short, "--json", f"--run_dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["source"] == "mpi"
    assert [(w["local_rank"], w["local_size"]) for w in report["workers"]] == [(0, 2), (1, 2)]
    there = len(os.sched_getaffinity(0))
    assert sum(worker["cores"] for worker in report["workers"]) == max(there, 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "2"}, r"RANK=\(not set\) isn't a number"),
        ({"JOB_COMPLETION_INDEX": "1"}, "set MNIST_DIST_NUM_WORKERS in the pod's template"),
    ],
)
def test_a_process_that_cant_join_the_others_trains_no_copy(tmp_path, short, variables, said):
    train = [sys.executable, "-m", "mnist_dist.train", *short, f"--run_dir={tmp_path}/run"]
    done = started(train, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"mnist_dist: .*{said}.*\n", done.stderr)
    assert not (tmp_path / "run").exists()
