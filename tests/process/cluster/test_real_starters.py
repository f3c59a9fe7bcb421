"""Real starters of MPI: their processes meet and divide the host. No TensorFlow is needed."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.process.trainer import DEADLINE_S, ROOT, environment

OPEN_MPI = ("mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none")
MPICH = ("mpiexec.hydra",)
PROGRAM = """
import os, signal, sys
from pathlib import Path
from mnist_dist.cluster import host_share, tool, topology
from mnist_dist.cluster.rendezvous import Terms
found = topology.from_environment(os.environ)
with tool.met(found, "test", Terms(60.0, 30.0, "", {}, Path(sys.argv[1]))) as meeting:
    share, _ = host_share.take(meeting, found, True, "")
    if found.rank == 1 and "die" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks = meeting.gather(found.rank, 60.0)
    cores = len(os.sched_getaffinity(0))
    line = f"{found.source} {found.rank} of {ranks}: {share[:2]}, {cores} cores"
    os.write(1, f"{line}\\n".encode())  # whole, beside those of the others
"""


@pytest.fixture(params=[OPEN_MPI, MPICH], ids=["Open MPI", "MPICH"])
def start(request, tmp_path):
    """Starts a number of processes and waits for them."""
    command = request.param
    if not shutil.which(command[0]):
        assert not os.environ.get("CI"), "Debian's openmpi-bin and mpich aren't installed"
        pytest.skip(f"no {command[0]} (Debian: openmpi-bin mpich)")
    (tmp_path / "program.py").write_text(PROGRAM)
    variables = {**environment(), "PYTHONPATH": str(ROOT)}

    def start(number, *more):
        python = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "run"), *more]
        (tmp_path / "run").mkdir(exist_ok=True)
        return subprocess.run(
            [*command, "-n", str(number), *python],
            env=variables, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    return start


@pytest.mark.parametrize("number", [2, 3])
def test_the_processes_meet_and_divide_their_host(start, number, tmp_path):
    done = start(number)
    assert done.returncode == 0, done.stderr
    there = len(os.sched_getaffinity(0))
    found = re.findall(r"mpi (\d) of \[(.*?)\]: \((\d), (\d)\), (\d+) cores", done.stdout)
    ranks = ", ".join(map(str, range(number)))
    assert sorted(row[:4] for row in found) == [
        (str(rank), ranks, str(rank), str(number)) for rank in range(number)
    ]
    assert sum(int(row[4]) for row in found) == max(there, number)
    assert not list((tmp_path / "run").iterdir())


def test_after_a_killed_process_the_same_command_meets_again(start):
    done = start(2, "die")
    assert done.returncode != 0
    assert " of [" not in done.stdout
    done = start(2)
    assert done.returncode == 0, done.stderr
