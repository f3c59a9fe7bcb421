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
    right = [list(range(9))] * 11
    suspects = bit_verdict.of_replicas(reports(*[right], *[[[7] * 9]] * 9))
    text = str(bit_verdict.failure(suspects, "abcdefghi", "x", 1, 0))
    assert "a, b, c, d and 4 more" in text
    assert "worker 4 (host n4)" in text
    assert "worker 5 (host n5)" not in text
    assert " and 5 more;" in text


@pytest.mark.parametrize(
    ("digests", "right"), [([1], 1), ([1, 2], None), ([1, 1, 2], 1), ([1, 1, 2, 2], None),
                           ([1, 1, 2, 3], None), ([1, 1, 1, 2, 3], 1)],
)  # fmt: skip
def test_majority(digests, right):
    assert bit_verdict.majority(digests) == right
