"""benchmarks.recovery kills tasks of a job on a real SLURM; its figures aren't looked at."""

import sys

from tests.process.test_benchmarks_run import assert_recoveries
from tests.slurm.conftest import ROOT


def test_recovery_from_two_kills(cluster, tmp_path):
    """Of a task on each of two nodes."""
    done = cluster.run(
        *(sys.executable, "-m", "benchmarks.recovery", "--how=slurm", "--kills=2"),
        cwd=tmp_path,
        environment={"PYTHONPATH": str(ROOT)},
        timeout_s=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_recoveries(done.stdout, "slurm, SIGKILL", 2)
    assert not cluster.ask("squeue", "--noheader")
    assert not list(tmp_path.iterdir())
