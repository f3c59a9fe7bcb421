"""Which replica is named, by the digests of all."""

import pytest

from mnist_dist.errors import EXIT_FAILED, EXIT_WRONG_BITS
from mnist_dist.training import bit_verdict

NAMES = ("model/a", "model/b", "optimizer/a")


def reports(*workers, kinds=None):
    """A report for each worker, of a list of digests for each of its replicas."""
    return [
        {
            "host": f"n{rank}",
            "devices": [f"/cpu:{number}" for number in range(len(digests))],
            "kinds": kinds[rank] if kinds else ["cpu"] * len(digests),
            "digests": digests,
        }
        for rank, digests in enumerate(workers)
    ]


def found(*workers, kinds=None):
    return [
        (one.rank, one.device, one.tensors, one.known)
        for one in bit_verdict.of_replicas(reports(*workers, kinds=kinds))
    ]


SAME, OTHER, THIRD = [1, 2, 3], [1, 5, 3], [9, 2, 8]


def test_equal_replicas_have_no_suspect():
    assert found([SAME, SAME], [SAME, SAME]) == []
    assert found([SAME]) == []


def test_the_one_that_differs_from_the_majority_is_wrong():
    assert found([SAME], [OTHER], [SAME]) == [(1, "/cpu:0", (1,), True)]
    assert found([SAME, SAME], [SAME, THIRD]) == [(1, "/cpu:1", (0, 2), True)]
    assert found([SAME, OTHER], [THIRD, SAME], [SAME, SAME]) == [
        (0, "/cpu:1", (1,), True),
        (1, "/cpu:0", (0, 2), True),
    ]


def test_without_a_majority_all_are_suspects():
    assert found([SAME], [OTHER]) == [(0, "/cpu:0", (1,), False), (1, "/cpu:0", (1,), False)]
    assert len(found([SAME, SAME], [OTHER, OTHER])) == 4


def test_only_replicas_of_a_kind_are_compared():
    kinds = [["avx2"], ["avx512"], ["avx2"]]
    assert found([SAME], [OTHER], [SAME], kinds=kinds) == []
    assert found([SAME], [OTHER], [THIRD], kinds=kinds) == [
        (0, "/cpu:0", (0, 2), False),
        (2, "/cpu:0", (0, 2), False),
    ]


def test_known_suspects_come_first():
    kinds = [["a"], ["a"], ["b"], ["b"], ["b"]]
    ranks = [one[0] for one in found([SAME], [OTHER], [SAME], [SAME], [OTHER], kinds=kinds)]
    assert ranks == [4, 0, 1]


def test_the_message_names_step_layer_device_and_host():
    suspects = bit_verdict.of_replicas(reports([SAME], [THIRD], [SAME]))
    errors = [bit_verdict.failure(suspects, NAMES, "the copies", 40, rank) for rank in range(3)]
    assert {str(error) for error in errors} == {
        "step 40: the copies differ: wrong bits on worker 1 (host n1) /cpu:0: model/a, "
        "optimizer/a; nothing was saved over; test the device with doctor --burn_in"
    }
    codes = [error.exit_code for error in errors]
    assert codes == [EXIT_FAILED, EXIT_WRONG_BITS, EXIT_FAILED]


def test_undecided_both_are_named_and_blamed():
    suspects = bit_verdict.of_replicas(reports([SAME], [OTHER]))
    errors = [bit_verdict.failure(suspects, NAMES, "the copies", 40, rank) for rank in range(2)]
    assert "no majority says which is right of worker 0 (host n0) /cpu:0: model/b; worker 1" in str(
        errors[0]
    )
    assert [error.exit_code for error in errors] == [EXIT_WRONG_BITS] * 2


def test_a_long_list_is_cut():
    right, wrong = [list(range(9))], [[7] * 9]
    suspects = bit_verdict.of_replicas(reports(*[wrong] * 9, *[right] * 11))
    text = str(bit_verdict.failure(suspects, "abcdefghi", "x", 1, 0))
    assert "a, b, c, d and 4 more" in text
    assert "worker 3 (host n3)" in text
    assert "worker 4 (host n4)" not in text
    assert " and 5 more;" in text


@pytest.mark.parametrize(
    ("digests", "right"),
    [((1,), 1), ((1, 2), None), ((1, 1, 2), 1), ((1, 1, 2, 2), None), ((1, 1, 2, 3), None),
     ((1, 1, 1, 2, 3), 1)],
)  # fmt: skip
def test_majority(digests, right):
    for votes in (
        [(f"n{rank}", rank, digest) for rank, digest in enumerate(digests)],
        [("n0", rank, digest) for rank, digest in enumerate(digests)],
        [("n0", 0, digest) for digest in digests],
    ):
        assert bit_verdict.majority(votes) == right


def test_replicas_of_one_worker_are_no_majority_over_another_worker():
    assert bit_verdict.majority([("a", 0, 1), ("a", 0, 1), ("a", 1, 2)]) is None
    assert bit_verdict.majority([("a", 0, 1), ("a", 1, 1), ("a", 0, 2)]) == 1


def test_workers_of_one_host_are_no_majority_over_another_host():
    """Such as three workers of a host whose copy of the images is wrong."""
    assert bit_verdict.majority([("a", 0, 1), ("a", 1, 1), ("b", 2, 2)]) is None
    assert bit_verdict.majority([("a", 0, 1), ("b", 1, 1), ("b", 2, 2)]) == 1
    made = reports([SAME], [OTHER], [OTHER], [OTHER])
    for report, host in zip(made, "abbb", strict=True):
        report["host"] = host
    suspects = bit_verdict.of_replicas(made)
    assert [(one.host, one.known) for one in suspects] == [("a", False), *[("b", False)] * 3]


def checked(*digests, owners, workers=None):
    """`of_checks` on replicas' digests of own and other shards, of one tensor, in one check."""
    one = [[[[digest] for digest in replica]] for replica in digests]
    devices = len(one) // (workers or len(one))
    by_worker = [one[first : first + devices] for first in range(0, len(one), devices)]
    check, found = bit_verdict.of_checks(reports(*by_worker), [owners])
    assert check == 0
    return [(one.rank, one.device, one.known) for one in found]


RING = [(1, 2), (2, 3), (3, 0), (0, 1)]  # each replica computes two others' shards


def test_equal_checks():
    right = [(10 + r, *(10 + owner for owner in RING[r])) for r in range(4)]
    assert checked(*right, owners=RING) == []
    assert checked((5, 5), owners=[(0,)]) == []


def test_a_replica_that_errs_always_is_outvoted_in_its_shard_and_in_others():
    votes = [[10 + r, *(10 + owner for owner in RING[r])] for r in range(4)]
    votes[2] = [99, 98, 97]
    assert checked(*votes, owners=RING) == [(2, "/cpu:0", True)]


def test_a_replica_that_errs_once_is_outvoted_where_it_did():
    for replica, vote in ((0, 0), (1, 1), (3, 2)):
        votes = [[10 + r, *(10 + owner for owner in RING[r])] for r in range(4)]
        votes[replica][vote] = 99
        assert checked(*votes, owners=RING) == [(replica, "/cpu:0", True)]


def test_of_two_replicas_neither_is_known_to_be_right():
    found = checked((10, 11), (99, 10), owners=[(1,), (0,)])
    assert found == [(0, "/cpu:0", False), (1, "/cpu:0", False)]


def test_a_replay_that_differs_names_its_replica():
    assert checked((5, 5), (6, 7), owners=[(0,), (1,)]) == [(1, "/cpu:0", True)]


def test_a_host_that_errs_alike_on_all_its_devices():
    """Of two hosts neither is known to be right; of one device of them it is."""
    owners = [(2, 1), (3, 0), (0, 3), (1, 2)]  # first on the other worker, then on the own one
    votes = [[10 + r, *(10 + owner for owner in owners[r])] for r in range(4)]
    wrong = [[digest + 50 for digest in vote] for vote in votes[2:]]
    found = checked(*votes[:2], *wrong, owners=owners, workers=2)
    assert [known for _, _, known in found] == [False] * 4
    one_device = checked(*votes[:3], wrong[1], owners=owners, workers=2)
    assert (1, "/cpu:1", True) in one_device
    assert [one for one in one_device if one[2]] == [(1, "/cpu:1", True)]


def test_the_first_check_with_a_difference_counts():
    digests = [[[[1], [1]], [[2], [3]], [[4], [5]]]]
    check, found = bit_verdict.of_checks(reports(digests), [[(0,)]] * 3)
    assert (check, len(found)) == (1, 1)
