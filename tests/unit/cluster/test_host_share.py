"""How workers divide their host's cores and GPUs."""

import pytest

from mnist_dist.cluster.host_share import Seen, Share, divide, take
from mnist_dist.cluster.topology import Topology
from mnist_dist.devices import nvidia, resources
from mnist_dist.devices.nvidia import Card
from mnist_dist.errors import UsageError

CORES = [0, 1, 2, 3]
GPUS = ["a", "b", "c", "d"]


def shares(everyone, **how):
    return [divide(rank, everyone, **how) for rank in range(len(everyone))]


def seen(host="n1 boot", local_rank=None, cores=CORES, gpus=GPUS):
    return Seen(host, local_rank, list(cores), list(gpus))


def test_a_worker_alone_on_its_host_keeps_all():
    assert shares([seen("n1"), seen("n2")]) == [Share(), Share()]


@pytest.mark.parametrize("local", [(0, 1), (1, 0), (None, None), (0, 0), (1, None)])
def test_two_workers_take_a_half_each(local):
    found = shares([seen(local_rank=rank) for rank in local])
    first, second = reversed(found) if local == (1, 0) else found
    assert first == Share(0, 2, (0, 1), (0, 1))
    assert second == Share(1, 2, (2, 3), (2, 3))


def test_workers_of_other_hosts_are_not_counted():
    everyone = [seen(host) for host in ("n1", "n2", "n1", "n2")]
    found = shares(everyone)
    assert [share.local_rank for share in found] == [0, 0, 1, 1]
    assert {share.local_size for share in found} == {2}
    assert found[0].gpus == found[1].gpus == (0, 1)


def test_what_a_starter_has_divided_stays():
    everyone = [seen(cores=[0, 1], gpus=["a"]), seen(cores=[2, 3], gpus=["b"])]
    assert shares(everyone) == [Share(0, 2), Share(1, 2)]
    assert shares([seen(), seen()], divided=True) == [Share(0, 2), Share(1, 2)]


def test_workers_bound_to_sockets_divide_their_socket():
    cores = [[0, 1], [2, 3], [0, 1], [2, 3]]
    found = shares([seen(cores=each, gpus=[]) for each in cores])
    assert [share.cores for share in found] == [(0,), (2,), (1,), (3,)]
    assert {share.gpus for share in found} == {None}


def test_a_count_of_gpus_is_each_workers():
    found = shares([seen(), seen()], each=1)
    assert [share.gpus for share in found] == [(0,), (1,)]


def test_leftover_gpus_stay_idle():
    found = shares([seen(gpus="abcde"), seen(gpus="abcde")])
    assert [share.gpus for share in found] == [(0, 1), (2, 3)]


@pytest.mark.parametrize(("gpus", "each"), [("a", 0), ("abc", 2)])
def test_a_gpu_is_never_used_twice(gpus, each):
    with pytest.raises(UsageError, match=r"host n1: 2 workers and . GPU") as error:
        shares([seen(gpus=gpus), seen(gpus=gpus)], each=each)
    assert "start fewer workers there, or give --no_gpu" in str(error.value)


def test_more_workers_than_cores_share_them_evenly():
    found = shares([seen(cores=[5, 7], gpus=[]) for _ in range(4)])
    assert [share.cores for share in found] == [(5,), (7,), (5,), (7,)]


class Gathered:
    """A meeting of two workers of one host, which see the same."""

    def gather(self, value, timeout_s):
        return [{**value, "local_rank": rank} for rank in range(2)]


@pytest.mark.parametrize(
    ("no_gpu", "gpus", "parts"),
    [
        (False, "", ["0,1,", "2,3,"]),
        (False, "1", ["0,", "1,"]),
        (False, "1,3", ["1,", "3,"]),
        (True, "", ["", ""]),
    ],
)
def test_each_worker_takes_its_gpus_and_cores(monkeypatch, no_gpu, gpus, parts):
    """The GPUs are stand-ins."""
    kept = []
    cards = tuple(Card(f"card {n}", uuid, 100, 0, None) for n, uuid in enumerate(GPUS))
    monkeypatch.setattr(nvidia, "cards", lambda: cards)
    monkeypatch.setattr(resources, "available_cores", lambda: set(CORES))
    monkeypatch.setattr(resources, "set_cores", kept.append)
    for rank in range(2):
        topology = Topology(("", ""), rank, "rank", local_rank=rank)
        share, own = take(Gathered(), topology, no_gpu, gpus)
        assert (share.local_rank, share.local_size, own) == (rank, 2, parts[rank])
    assert kept == [{0, 1}, {2, 3}]
