"""A worker whose network is cut says nothing more, and closes nothing: its silence tells."""

import os
import subprocess

import pytest

from tests.unit.cluster.meeting import Worker, free_ports

PREFIX = "10.213.79"


@pytest.fixture
def hosts():
    """Two network namespaces with a link between them: their names, the addresses .1 and .2."""
    if os.geteuid() and "CI" not in os.environ:
        pytest.skip("needs root, for network namespaces")
    names = [f"mdcut{os.getpid()}{end}" for end in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            "cut",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "cut",
            "netns",
            names[1],
        )
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"{PREFIX}.{number}/24", "dev", "cut")
            ip("-n", name, "link", "set", "cut", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def test_a_worker_that_is_cut_off_is_named_by_its_silence(hosts):
    """Workers 0 and 2 on one host, worker 1 on the other, which finds itself alone."""
    place = [0, 1, 0]
    ports = free_ports(3)
    workers = [f"{PREFIX}.{host + 1}:{port}" for host, port in zip(place, ports, strict=True)]
    started = [
        Worker(
            workers,
            rank,
            prefix=("nsenter", f"--net=/var/run/netns/{hosts[host]}"),
            peer_timeout_s=2.5,
        )
        for rank, host in enumerate(place)
    ]
    try:
        for worker in started:
            assert worker.heard() == {"met": workers}
        ip("-n", hosts[1], "link", "set", "cut", "down")
        for rank, silent in ((0, 1), (2, 1), (1, 0)):
            code, text = started[rank].end()
            assert code == 1
            assert f"worker {silent} (host " in text
            assert "fell silent 2.5 s ago, at step 0" in text
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.communicate()
