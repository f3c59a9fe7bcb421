"""A real Open MPI in a job of a real SLURM: mpirun has srun start its daemons on the nodes.

So the workers have variables of SLURM, too: of the job, or of a step in which the daemons are the
tasks.
"""

import json
import shlex
import sys

import pytest

from tests import warm
from tests.process.trainer import SMALL
from tests.slurm.conftest import ROOT

MPIRUN = ("mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none")


@pytest.fixture(scope="module")
def short(subset):
    """Flags of a short training."""
    steps = ("--max_steps=20", "--validation_size=500", "--batch_size=48", "--shards=4")
    return (*SMALL, f"--data_dir={subset}", *steps)


def outcome(folder):
    result = json.loads((folder / "result.json").read_text())
    return result["weights_sha256"], result["num_workers"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, short):
    """weights_sha256 of a process alone."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "mnist_dist.train", *short, f"--run_dir={folder}/run"]
    warm.run(command, check=True, cwd=ROOT, capture_output=True)
    return outcome(folder / "run")[0]


@pytest.mark.parametrize(("start", "tasks"), [("sbatch", 1), ("salloc", 2)])
def test_two_workers_train_one_run(cluster, short, weights, tmp_path, start, tasks):
    """On two nodes; and both on the first of two nodes with room for two on each.

    With sbatch mpirun itself is on the first node, with salloc on the controller. The second
    time, one worker inherits from its daemon a step's rank and size that are the worker's, too.
    """
    train = [sys.executable, "-m", "mnist_dist.train", *short, "--connect_timeout=60"]
    command = [*MPIRUN, "-n", "2", *train, f"--run_dir={tmp_path}/run"]
    size = ["--nodes=2", f"--ntasks-per-node={tasks}"]
    log = tmp_path / "log"
    words = [*size, *command]
    if start == "sbatch":
        words = [*size, "--wait", f"--output={log}", f"--wrap={shlex.join(command)}"]
    done = cluster.run(start, *words, cwd=ROOT, timeout_s=240)
    said = log.read_text() if start == "sbatch" else done.stdout
    assert done.returncode == 0, said + done.stderr
    assert outcome(tmp_path / "run") == (weights, 2)
