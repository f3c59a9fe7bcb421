"""Data that the tests of several folders share, and the order in which their files are begun."""

import signal
from pathlib import Path

import pytest

from tests.mnist_files import cut

FIRST = """
    slurm/test_recovery.py
    devices/test_curves.py
    process/network/test_own.py
    process/training/test_bits.py
    devices/test_exact.py
    slurm/test_training_jobs.py
    process/cluster/test_launcher_killed.py
    process/cluster/test_workers.py
    process/test_benchmarks_run.py
    slurm/test_interrupted_jobs.py
    process/cluster/test_mpi.py
    process/launch/test_ssh_launcher.py
    process/launch/test_local_launcher.py
    slurm/test_scripts.py
    devices/test_summing.py
    process/bench/test_bench.py
    process/run/test_outputs.py
    slurm/test_doctor_on_slurm.py
    process/use/test_export.py
    process/training/test_training.py
    process/data/test_prepare.py
    slurm/test_exact_on_slurm.py
    devices/test_on_card.py
    slurm/test_mpirun_in_a_job.py
    slurm/test_benchmark_on_slurm.py
"""
"""The files that take longest, before all others: then short ones are left for the end, when they
keep all workers of tests/run busy. Those of slurm/ mostly wait, so they stand between others.
"""


def pytest_collection_modifyitems(config, items):
    """In the workers of tests/run alone; without them the short unit tests are first."""
    if hasattr(config, "workerinput"):
        place = {Path(__file__).parent / name: number for number, name in enumerate(FIRST.split())}
        items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def subset(tmp_path_factory):
    """A folder with the first 3,000 training and 1,003 test images of MNIST, as IDX files."""
    folder = tmp_path_factory.mktemp("subset")
    cut(folder, 3000, 1003)
    return folder


# Under nohup, the processes that tests start would ignore SIGHUP, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
