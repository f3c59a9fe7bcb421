"""One real SLURM for all tests of this folder."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster():
    """Three nodes of 4 pretended cores and 2 pretended GPUs; all of it gone afterwards."""
    reason = missing()
    if reason and not (os.environ.get("CI") or os.environ.get("MNIST_DIST_REQUIRE_SLURM")):
        pytest.skip(reason)
    assert not reason, reason
    with tempfile.TemporaryDirectory(prefix="mnist_dist-slurm-") as folder:
        made = Cluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture(autouse=True)
def _empty_queue(request):
    """No job of a failed test stays for the next one."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").cancel_all()
