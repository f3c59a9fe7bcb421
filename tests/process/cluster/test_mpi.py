"""A real Open MPI starts the workers, which find each other by a file in --run_dir."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests import warm
from tests.process.trainer import ROOT, SMALL, environment

MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none")
SHORT = (*SMALL, "--max_steps=20", "--validation_size=500", "--batch_size=48", "--shards=4")
NAMES = ("OMPI_", "PMI", "RANK", "WORLD_SIZE", "MASTER_")


@pytest.fixture(autouse=True)
def _open_mpi():
    if not shutil.which("mpirun"):
        assert not os.environ.get("CI"), "Debian's openmpi-bin isn't installed"
        pytest.skip("no mpirun (Debian: openmpi-bin)")


def started(command, **more):
    variables = {k: v for k, v in environment().items() if not k.startswith(NAMES)} | more
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=240
    )


def mpirun(number, module, *flags):
    return started([*MPIRUN, "-n", str(number), sys.executable, "-m", module, *flags])


def outcome(folder):
    result = json.loads((folder / "result.json").read_text())
    return result["weights_sha256"], result["num_workers"], result["num_replicas"]


def test_two_and_four_processes_train_one_run_with_the_bits_of_one_process(tmp_path):
    alone = [sys.executable, "-m", "mnist_dist.train", *SHORT, f"--run_dir={tmp_path}/1"]
    warm.run(alone, cwd=ROOT, env=environment(), check=True, capture_output=True)
    weights, *_ = outcome(tmp_path / "1")
    for number in (2, 4):
        done = mpirun(number, "mnist_dist.train", *SHORT, f"--run_dir={tmp_path}/{number}")
        assert done.returncode == 0, done.stderr
        assert outcome(tmp_path / str(number)) == (weights, number, number)
        assert not list((tmp_path / str(number)).glob(".meeting*"))


def test_the_doctor_shows_how_they_share_the_host(tmp_path):
    done = mpirun(2, "mnist_dist.doctor", "--no_gpu", "--json", f"--run_dir={tmp_path}/run")
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
def test_a_process_that_cant_join_the_others_trains_no_copy(tmp_path, variables, said):
    train = [sys.executable, "-m", "mnist_dist.train", *SHORT, f"--run_dir={tmp_path}/run"]
    done = started(train, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"mnist_dist: .*{said}.*\n", done.stderr)
    assert not (tmp_path / "run").exists()
