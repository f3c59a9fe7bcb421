"""What worker 0 says of a newcomer that doesn't fit, and how the others learn the addresses."""

import pytest

from mnist_dist.cluster import address, addresses, handshake
from mnist_dist.cluster.handshake import Handshake

FITS = {"flags": {"lr": "0.01"}, "versions": {"numpy": "2"}}
CHIEF = Handshake(0, "n0", 7, "n0:2000", 1, "", FITS)
NEWCOMER = Handshake(1, "n1", 8, "n1:2000", 1, "", FITS)


def said(**changes):
    """What is wrong with worker 1 of a run of three, or None."""
    problem = handshake.compare({0: CHIEF}, NEWCOMER._replace(**changes), 3)
    return problem and str(problem)


def test_equal_ones_fit():
    assert said() is None
    assert said(rank=2) is None
    assert said(fingerprints={"versions": {"numpy": "2"}, "flags": {"lr": "0.01"}}) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rank": 3}, "worker 3 (host n1): the index is outside the 3 workers"),
        (
            {"rank": 0},
            "two workers have index 0: process 7 on host n0 and process 8 on host n1; "
            "give each its own",
        ),
        (
            {"devices": 2},
            "worker 1 (host n1) has 2 device(s), worker 0 1; give each worker the same number, "
            "with --gpus or the scheduler",
        ),
        (
            {"fingerprints": {**FITS, "flags": {"lr": "0.02"}}},
            "worker 1 (host n1) has --lr=0.02, worker 0 (host n0) --lr=0.01; start all with the "
            "same flags",
        ),
        (
            {"fingerprints": {**FITS, "versions": {"numpy": "1"}}},
            "worker 1 (host n1) has numpy=1, worker 0 (host n0) numpy=2; start all with the same "
            "versions",
        ),
        (
            {"fingerprints": {**FITS, "flags": {}}},
            "worker 1 (host n1) has --lr=None, worker 0 (host n0) --lr=0.01; start all with the "
            "same flags",
        ),
        (
            {"fingerprints": {"flags": FITS["flags"]}},
            "worker 1 (host n1) has numpy=None, worker 0 (host n0) numpy=2; start all with the "
            "same versions",
        ),
        (
            {"fingerprints": {**FITS, "data": {"sha256": "ab"}}},
            "worker 1 (host n1) has sha256=ab, worker 0 (host n0) sha256=None; start all with the "
            "same data",
        ),
    ],
)
def test_the_difference_is_named(changes, expected):
    assert said(**changes) == expected


def test_a_handshake_is_read_as_it_was_sent():
    longest = NEWCOMER._replace(rank=0, host="n" * address.LONGEST)
    for each in (NEWCOMER, longest):
        assert handshake.read(each.message("token")) == each


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rank": None}, "rank isn't a number"),
        ({"rank": True}, "rank isn't a number"),
        ({"rank": -1}, "rank isn't a number"),
        ({"pid": "8"}, "pid isn't a number"),
        ({"devices": []}, "devices isn't a number"),
        ({"host": ["n1"]}, "host isn't a short text"),
        ({"host": "n" * (address.LONGEST + 1)}, "host isn't a short text"),
        ({"topology": None}, "topology isn't a short text"),
        ({"address": "n1"}, "isn't host:port"),
        ({"fingerprints": None}, "fingerprints aren't names and values"),
        ({"fingerprints": {"flags": []}}, "fingerprints aren't names and values"),
        ({"fingerprints": {"flags": {"lr": 1}}}, "fingerprints aren't names and values"),
    ],
)
def test_what_is_no_handshake_is_refused(changes, expected):
    with pytest.raises(ValueError, match=expected):
        handshake.read({**NEWCOMER.message("token"), **changes})


GIVEN = ("n0:1", "n1:1", "n2:1")


def test_other_addresses_or_another_order_have_another_digest():
    assert handshake.digest(GIVEN) == handshake.digest(list(GIVEN))
    assert len({handshake.digest(each) for each in (GIVEN, GIVEN[:2], GIVEN[::-1])}) == 3


@pytest.mark.parametrize(
    ("actual", "given", "message"),
    [
        (GIVEN, GIVEN, {}),
        (("n0:1", "n1:1", "n2:9"), GIVEN, {"2": "n2:9"}),
        (("n0:1", "n1:1", "n2:1"), ("n0:1", "", ""), {"1": "n1:1", "2": "n2:1"}),
        (GIVEN, None, list(GIVEN)),
    ],
)
def test_addresses_that_differ_are_sent(actual, given, message):
    assert addresses.changes(actual, given) == message
    assert addresses.read(message, given or ("", "", "")) == actual


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ({"3": "n3:1"}, GIVEN),
        ({"-1": "n3:1"}, GIVEN),
        ({"1": "n1"}, GIVEN),
        ({"1": 5}, GIVEN),
        ({"1": "n1:1"}, ("n0:1", "", "")),
        (["n0:1", "n1:1"], GIVEN),
        (["n0:1", "n1:1", ""], GIVEN),
        (None, GIVEN),
        ("n0:1", GIVEN),
    ],
)
def test_what_is_no_address_of_each_worker_is_refused(message, given):
    with pytest.raises(ValueError, match=r".+"):
        addresses.read(message, given)
