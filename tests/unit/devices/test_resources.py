"""Cores by affinity and cgroup, on folders as the kernel lays them out; what was used."""

import hashlib
import math
import multiprocessing
import os
import socket
import subprocess
import sys

import pytest

from mnist_dist.devices import resources


@pytest.fixture
def tree(tmp_path):
    """Makes files of a cgroup file system; returns the cores of a process with `membership`."""

    def cores(membership, files):
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "self").write_text(membership)
        return resources.cgroup_cores(tmp_path / "cgroup", tmp_path / "self")

    return cores


V1 = "12:cpuset:/job\n4:cpu,cpuacct:/job/step\n1:name=systemd:/job/step\n"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/job/step\n", {"job/step/cpu.max": "50000 100000\n"}, 0.5),
        # A quota of a group above counts too; the least of all is what there is.
        (
            "0::/job/step\n",
            {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "400000 200000\n"},
            2.0,
        ),
        (
            "0::/job/step\n",
            {"job/step/cpu.max": "300000 100000\n", "job/cpu.max": "800000 100000\n"},
            3.0,
        ),
        ("0::/job\n", {"other/cpu.max": "100000 100000\n"}, math.inf),
        (V1, {}, math.inf),
        (
            V1,
            {
                "cpu,cpuacct/job/step/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/job/step/cpu.cfs_period_us": "100000\n",
            },
            math.inf,
        ),
        (
            V1,
            {
                "cpu,cpuacct/job/step/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/job/step/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            "3:cpu:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "50000\n"},
            2.0,
        ),
        # Another controller's folders of the same name say nothing of cores.
        ("3:memory:/a\n", {"memory/a/cpu.max": "100000 100000\n"}, math.inf),
    ],
)
def test_cgroup_cores(tree, membership, files, expected):
    assert tree(membership, files) == expected


def test_no_cgroup_file(tmp_path):
    assert resources.cgroup_cores(tmp_path, tmp_path / "none") == math.inf


@pytest.mark.parametrize(
    ("quota", "expected"), [(0.5, 1), (1.5, 2), (2.0, 2), (math.inf, 3), (64.0, 3)]
)
def test_cores_are_the_least_of_affinity_and_quota(monkeypatch, quota, expected):
    """Rounded up: half a core more is worth a thread."""
    process = type("Process", (), {"cpu_affinity": lambda self: [0, 2, 5]})
    monkeypatch.setattr(resources.psutil, "Process", process)
    monkeypatch.setattr(resources, "cgroup_cores", lambda root, membership: quota)
    assert resources.cores() == expected


def test_affinity_of_a_real_process():
    first = min(os.sched_getaffinity(0))
    code = "from mnist_dist.devices import resources; print(resources.cores())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        **{"capture_output": True, "text": True, "check": True},
        preexec_fn=lambda: os.sched_setaffinity(0, {first}),
    )
    assert done.stdout == "1\n"


def test_used():
    """Of this process: what a known amount of memory and work adds, whatever started it has."""
    ballast = b"x" * (600 << 20)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        before, after = pool.apply(_work)
    assert before["peak_memory_bytes"] < len(ballast)
    grown = after["peak_memory_bytes"] - before["peak_memory_bytes"]
    assert 300 << 20 < grown < 450 << 20  # less than 400 by what was free of an earlier peak
    assert after["hostname"] == socket.gethostname()
    assert after["machine_cores"] == os.cpu_count()
    assert 1 <= after["cores"] <= os.cpu_count()
    assert 0.0 < after["cpu_percent"] < 100.0 * (os.cpu_count() + 1)


@pytest.mark.parametrize(
    ("cores", "number", "parts"),
    [
        ({4, 5, 6, 7}, 2, [{4, 5}, {6, 7}]),
        ({0, 1, 2, 3, 4, 5, 6, 7}, 3, [{0, 1}, {2, 3}, {4, 5}]),
        ({0, 2, 9}, 2, [{0}, {2}]),
        ({0, 1}, 3, [{0}, {1}, {0}]),
        (set(), 2, [set(), set()]),
    ],
)
def test_each_worker_gets_as_many_cores(cores, number, parts):
    """Workers with other numbers of threads compute other bits, and send products."""
    assert resources.divide(cores, number) == parts


def _work():
    before = resources.used()
    block = b"x" * (400 << 20)
    hashlib.sha256(block)
    return before, resources.used()
