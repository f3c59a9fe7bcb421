"""The doctor in an allocation, well and ill: each illness is really there, on one node of three."""

import json
import shutil
import sys

import pytest

from tests.slurm.conftest import ROOT


@pytest.fixture
def examine(cluster, tmp_path):
    """Runs `srun -N3 python -m mnist_dist.doctor --json`; on n2 what is in `ill` runs before it."""

    def run(*flags, ill=""):
        ward = tmp_path / "ward.sh"
        ward.write_text(f'[ "$(hostname)" = n2 ] && {{ {ill or ":"}\n}}\nexec "$@"\n')
        doctor = [sys.executable, "-m", "mnist_dist.doctor", "--json", "--no_gpu"]
        common = [f"--checkpoint_dir={tmp_path}/ck", "--connect_timeout=60"]
        srun = ["srun", "--quiet", "-N3"]  # it may wait for the last test's nodes
        return cluster.run(*srun, "sh", str(ward), *doctor, *common, *flags, cwd=ROOT)

    return run


def findings(done):
    report = json.loads(done.stdout)
    return [finding["text"] for finding in report["findings"] if finding["bad"]]


def test_well(examine, tmp_path):
    done = examine("--batch_size=64")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["well"]
    assert [worker["host"] for worker in report["workers"]] == ["n1", "n2", "n3"]
    assert report["source"] == "slurm"
    assert report["all_reduce"]["replicas"] == 3
    assert report["all_reduce"]["bytes"][-1] == 64 * 2**20
    assert not (tmp_path / "ck").exists()


def test_a_worker_with_another_version_of_the_package(examine, tmp_path):
    shutil.copytree(ROOT / "mnist_dist", tmp_path / "old" / "mnist_dist")
    init = tmp_path / "old" / "mnist_dist" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "0.0.'))
    done = examine(ill=f"cd {tmp_path}/old")
    assert done.returncode != 0
    [text] = findings(done)
    assert text.startswith("worker 1 (host n2): mnist_dist 0.0.")
    assert "install the same on each host" in text


def test_a_checkpoint_folder_that_one_node_does_not_see(examine, tmp_path):
    (tmp_path / "ck").mkdir()
    hide = f'exec unshare --mount sh -c \'mount -t tmpfs none {tmp_path}/ck && exec "$@"\' sh "$@"'
    done = examine(ill=hide)
    assert done.returncode != 0
    [text] = findings(done)
    assert text.startswith("worker 1 (host n2): ")
    assert f"{tmp_path}/ck isn't worker 0's folder" in text
    assert "shared file system" in text


def test_ports_that_something_else_has(examine):
    take = (
        "import os, socket, sys, time\n"
        "from mnist_dist.cluster import ports, topology\n"
        "where = topology.from_environment(os.environ)\n"
        "found = ports.candidates(where, where.rank)\n"
        "taken = [socket.create_server(('', port)) for _, port in found]\n"
        "pid = os.fork()\n"
        "if not pid: os.execv(sys.argv[1], sys.argv[1:])\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = examine("--connect_timeout=8", ill=f'exec {sys.executable} -c "{take}" "$@"')
    assert done.returncode != 0
    assert "of host n2 is in use" in done.stderr
    assert "worker 1 (n2:" in done.stderr
    assert "did not come" in done.stderr


def test_two_nodes_that_do_not_reach_each_other(cluster, examine):
    address = f"{cluster.network}.3"
    cluster.run("ip", "route", "add", "unreachable", f"{address}/32", inside="n2")
    try:
        done = examine()
    finally:
        cluster.run("ip", "route", "del", "unreachable", f"{address}/32", inside="n2")
    assert done.returncode != 0
    assert "worker 1 (host n2) can't reach worker 2 (host n3) at n3:" in done.stderr
    assert "check name and firewall" in done.stderr
