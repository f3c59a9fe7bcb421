"""The addresses that worker 0 hands out where a starter named no hosts but MASTER_ADDR."""

from types import SimpleNamespace

import pytest

from mnist_dist.cluster.admission import Admission
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.cluster.topology import Topology


def handshake(rank, address):
    return Handshake(rank, f"n{rank}", 1, address, 1, "", {})


@pytest.mark.parametrize(
    ("master", "own", "expected"),
    [
        ("10.0.0.1:29500", "10.0.0.1:29500", "192.168.0.1:29500"),  # to which the others came
        ("10.0.0.1:29500", "172.16.0.1:29500", "172.16.0.1:29500"),  # --interface
        ("", "10.0.0.1:29500", "192.168.0.1:29500"),  # by the file; it lists all its addresses
    ],
)
def test_the_address_of_worker_0(master, own, expected):
    topology = Topology((master, "", ""), 0, "rank", "token")
    admission = Admission(topology, handshake(0, own), None)
    for rank, host in ((1, "192.168.0.2"), (2, "192.168.0.3")):
        admission.handshakes[rank] = handshake(rank, f"{host}:15000")
        admission.peers[rank] = SimpleNamespace(host=host, own_host="192.168.0.1")
    assert admission.addresses == (expected, "192.168.0.2:15000", "192.168.0.3:15000")


def test_workers_of_worker_0s_host_come_by_loopback_and_get_its_address():
    """Though they are the majority."""
    topology = Topology(("10.0.0.1:29500", "", "", ""), 0, "rank", "token")
    admission = Admission(topology, handshake(0, "10.0.0.1:29500"), None)
    for rank, host in ((1, "127.0.0.1"), (2, "127.0.0.1"), (3, "192.168.0.3")):
        admission.handshakes[rank] = handshake(rank, f"{host}:{15000 + rank}")
        own = "192.168.0.1" if rank == 3 else host
        admission.peers[rank] = SimpleNamespace(host=host, own_host=own)
    assert admission.addresses == (
        "192.168.0.1:29500",
        "192.168.0.1:15001",
        "192.168.0.1:15002",
        "192.168.0.3:15003",
    )


def test_of_two_addresses_of_worker_0_the_one_that_most_have_used_is_taken():
    topology = Topology(("10.0.0.1:29500", "", "", ""), 0, "rank", "token")
    admission = Admission(topology, handshake(0, "10.0.0.1:29500"), None)
    for rank, own in ((1, "172.16.0.1"), (2, "192.168.0.1"), (3, "192.168.0.1")):
        admission.handshakes[rank] = handshake(rank, f"192.168.0.{rank + 1}:15000")
        admission.peers[rank] = SimpleNamespace(host=f"192.168.0.{rank + 1}", own_host=own)
    assert admission.addresses[0] == "192.168.0.1:29500"


@pytest.mark.parametrize(("size", "more"), [(9, ""), (12, " and 3 more")])
def test_the_missing_are_named_as_far_as_they_fit_in_a_line(size, more):
    workers = tuple(f"n{rank}:1" for rank in range(size))
    topology = Topology(workers, 0, "tf_config", "token")
    admission = Admission(topology, handshake(0, "n0:1"), None)
    named = ", ".join(f"worker {rank} (n{rank}:1)" for rank in range(1, 9))
    assert admission.missing() == named + more
    assert str(admission.absence(2.5)) == (
        f"after 2.5 s {named}{more} did not come; look into their logs, and whether they can reach "
        "worker 0 (n0:1)"
    )
