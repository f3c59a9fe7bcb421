"""What the log says of replicas of several kinds of hardware."""

import pytest

from mnist_dist.training.bit_kinds import scope


def of(*kinds):
    """Of the kinds of each worker's replicas."""
    return scope(
        [
            {"devices": [f"/gpu:{number}" for number in range(len(own))], "kinds": list(own)}
            for own in kinds
        ],
        "hardware",
    )


@pytest.mark.parametrize("kinds", [["a"], ["aa"], ["a", "a"], ["aa", "aa"]])
def test_of_one_kind_nothing_is_said(kinds):
    assert of(*kinds) == (sum(map(len, kinds)) > 1, "")


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["a", "a", "b"], "workers 0, 1; worker 2 differs from all others and isn't compared"),
        (["a", "b", "a", "b"], "workers 0, 2; workers 1, 3"),
        (["aa", "b", "aa"], "workers 0, 2; worker 1 differs from all others and isn't compared"),
        (["bb", "a"], "worker 0; worker 1 differs from all others and isn't compared"),
        (
            ["a", "a", "b", "c"],
            "workers 0, 1; workers 2, 3 differ from all others and aren't compared",
        ),
        (
            ["ab", "aa"],
            "worker 0 /gpu:0, worker 1 /gpu:0, worker 1 /gpu:1; "
            "worker 0 /gpu:1 differs from all others and isn't compared",
        ),
        (["a"] * 10 + ["b", "b"], "workers 0, 1, 2, 3, 4, 5, 6, 7 and 2 more; workers 10, 11"),
    ],
)
def test_of_several_kinds_it_is_said_who_is_compared(kinds, said):
    assert of(*kinds) == (True, f"Bits are compared between replicas of equal hardware: {said}.")


@pytest.mark.parametrize("kinds", [["a", "b"], ["ab"], ["a", "b", "c"]])
def test_without_two_of_a_kind_nothing_is_compared(kinds):
    said = "Bits aren't compared: no two replicas have equal hardware."
    assert of(*kinds) == (False, said)


def test_without_promised_bits_nothing_is_compared():
    reports = [{"devices": ["/gpu:0", "/gpu:1"], "kinds": []}]
    said = "Bits aren't compared: --nondeterministic."
    assert scope(reports, "hardware") == (False, said)
    one = [{"devices": ["/gpu:0"], "kinds": []}]
    assert scope(one, "hardware") == (False, "")
