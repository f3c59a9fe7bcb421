"""Which workers try to reach which, and what is said of those that can't be reached."""

import asyncio
import socket

import pytest

from mnist_dist.cluster import reachability
from mnist_dist.cluster.connecting import NO_ANSWER
from mnist_dist.cluster.deadline import MeetingDeadline
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.cluster.reachability import RANDOM, describe, failures, targets
from tests.unit.cluster import virtual_time
from tests.unit.cluster.virtual_time import Clock, now

SILENT = f"{NO_ANSWER} within 3 s"
REFUSED = "Connection refused"
WORKERS = {
    rank: Handshake(rank, f"n{rank}", 1, f"10.0.0.{rank}:2000", 1, "", {}) for rank in range(12)
}


@pytest.mark.parametrize("size", [2, 3, 4, 5, 64, 1000])
def test_each_tries_worker_0_its_neighbours_and_some_others(size):
    tried = {rank: targets(size, rank, "token") for rank in range(size)}
    for rank, found in tried.items():
        wanted = {0, (rank - 1) % size, (rank + 1) % size} - {rank}
        assert wanted <= set(found) <= set(range(size)) - {rank}
        assert found == sorted(set(found))
        assert len(found) <= len(wanted) + RANDOM
    assert sum(map(len, tried.values())) <= 5 * size
    assert all(sum(rank in found for found in tried.values()) >= min(2, size - 1) for rank in tried)


def test_the_others_are_drawn_by_token_and_rank():
    def drawn(rank, token):
        return set(targets(1000, rank, token)) - {0, rank - 1, rank + 1}

    assert drawn(500, "a") == drawn(500, "a")
    assert len({frozenset(drawn(500, token)) for token in "abcdefgh"}) == 8
    assert len({frozenset(drawn(rank, "a")) for rank in range(100, 900, 100)}) == 8


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ({}, None),
        ({0: {}, 1: {}}, None),
        (
            {2: {1: REFUSED}},
            "worker 2 (host n2) can't reach worker 1 (host n1) at 10.0.0.1:2000 "
            "(Connection refused); check name and firewall",
        ),
        (  # the one that most can't reach
            {4: {3: REFUSED}, 2: {1: SILENT, 3: SILENT}, 5: {3: SILENT}},
            f"worker 2 (host n2) can't reach worker 3 (host n3) at 10.0.0.3:2000 ({SILENT}), nor "
            "can worker 4, worker 5; unreached too: worker 1; check name and firewall",
        ),
        (  # also if it isn't the last
            {2: {1: REFUSED}, 4: {1: REFUSED}, 5: {3: SILENT}},
            "worker 2 (host n2) can't reach worker 1 (host n1) at 10.0.0.1:2000 "
            "(Connection refused), nor can worker 4; unreached too: worker 3; check name and "
            "firewall",
        ),
        (  # among equals one with a reason, though it comes later
            {2: {1: SILENT}, 3: {5: REFUSED}},
            "worker 3 (host n3) can't reach worker 5 (host n5) at 10.0.0.5:2000 "
            "(Connection refused); unreached too: worker 1; check name and firewall",
        ),
        (  # among equals the first
            {2: {5: REFUSED, 1: REFUSED}},
            "worker 2 (host n2) can't reach worker 1 (host n1) at 10.0.0.1:2000 "
            "(Connection refused); unreached too: worker 5; check name and firewall",
        ),
        (  # long lists are cut
            {
                0: dict.fromkeys((1, 2, 3, 4, 5), SILENT),
                **{rank: {1: SILENT} for rank in (6, 7, 8, 9, 10)},
            },
            f"worker 0 (host n0) can't reach worker 1 (host n1) at 10.0.0.1:2000 ({SILENT}), nor "
            "can worker 6, worker 7, worker 8 and 2 more; unreached too: worker 2, 3, 4 and 1 "
            "more; check name and firewall",
        ),
        (  # as many as fit
            {
                0: dict.fromkeys((1, 2, 3, 4), SILENT),
                **{rank: {1: SILENT} for rank in (6, 7, 8)},
            },
            f"worker 0 (host n0) can't reach worker 1 (host n1) at 10.0.0.1:2000 ({SILENT}), nor "
            "can worker 6, worker 7, worker 8; unreached too: worker 2, 3, 4; check name and "
            "firewall",
        ),
    ],
)
def test_the_likeliest_cause_is_named(failed, expected):
    assert describe(failed, WORKERS) == expected


@pytest.mark.parametrize(
    ("known_after_s", "expected"),
    [(7.0, {}), (float("inf"), {1: "Name or service not known"})],
)
def test_a_name_is_waited_for_until_the_deadline(monkeypatch, known_after_s, expected):
    tried = []

    async def connect(host, port, _):
        tried.append((host, port))
        if now() < known_after_s:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return socket.socket()

    monkeypatch.setattr(reachability, "connect", connect)

    async def run():
        deadline = MeetingDeadline("worker 0", 10.0, Clock(), str)
        assert await failures(["n0:1000", "n1:2000"], [1], deadline) == expected
        assert set(tried) == {("n1", 2000)}
        end_s = min(known_after_s, 10.0)
        assert end_s <= now() < end_s + 0.5

    virtual_time.run(run())


def test_a_name_that_can_be_none_is_not_tried_again():
    async def run():
        deadline = MeetingDeadline("worker 0", 60.0, Clock(), str)
        return await failures([f"{'n' * 64}.example:2000"], [0], deadline)

    assert "label" in asyncio.run(run())[0]
