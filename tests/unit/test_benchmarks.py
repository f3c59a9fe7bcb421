"""The benchmark's arithmetic: order of turns, ratios, the comparison of losses. No timing."""

from collections import Counter

import pytest

from benchmarks import tables, time_to_99
from benchmarks.contest import Comparison, Contestant, Outcome, check
from benchmarks.job import Job
from benchmarks.order import abba
from benchmarks.ratios import ratio
from benchmarks.run import main, precisions
from mnist_dist.errors import RunError


def test_each_round_goes_there_and_back_in_an_order_of_its_own():
    rounds = abba("abc", 50, seed=0)
    assert len(rounds) == 50
    for order in rounds:
        assert order == order[::-1]
        assert Counter(order) == {"a": 2, "b": 2, "c": 2}
    assert len({tuple(order) for order in rounds}) == 6  # all there are
    assert rounds == abba("abc", 50, seed=0) != abba("abc", 50, seed=1)


def test_a_drift_meets_all_contestants_alike():
    """Each turn takes 0.1 longer than the one before: the sums of a round are the same."""
    for order in abba("abcd", 9, seed=3):
        sums = Counter()
        for place, name in enumerate(order):
            sums[name] += 10 + place
        assert len(set(sums.values())) == 1


def test_a_ratio_is_taken_round_by_round():
    """The medians' ratio would be 3 / 2; the rounds' own are 2, 2, 1, 2 and 2."""
    found = ratio([2, 4, 3, 8, 2], [1, 2, 3, 4, 1])
    assert found.median == 2
    assert found.low == 1
    assert found.high == 2


def test_an_interval_is_the_bootstraps():
    """At least 5 of 9 draws from 1..9 are 1: 0.1 %; are 1 or 2: 3.1 %, more than the 2.5 below."""
    found = ratio(list(range(1, 10)), [1] * 9)
    assert (found.median, found.low, found.high) == (5, 2, 8)


def test_spread_is_from_the_first_decile_to_the_last():
    even = ratio([1.00, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09, 1.10], [1] * 11)
    assert even.spread == pytest.approx(0.08 / 1.05)
    assert not even.flagged
    assert ratio([1.0, 1.1, 1.2], [1, 1, 1]).flagged


def test_other_losses_are_refused_and_named():
    check({"a": [2.3, 2.2], "b": [2.30001, 2.2]}, 1e-4)
    with pytest.raises(RunError, match=r"b \[2\.3, 2\.3\].*0\.1 apart.*nothing was timed"):
        check({"a": [2.3, 2.2], "b": [2.3, 2.3]}, 1e-4)
    with pytest.raises(RunError, match="nan apart"):
        check({"a": [2.3], "b": [float("nan")]}, 1e-4)


def test_a_job_comes_out_as_it_went_in():
    job = Job(256, 5, ports=(1, 2), options={"flags": {"shards": 2}})
    assert Job.from_json(job.to_json()) == job
    assert (job.dropout, Job(check=True).dropout) == (0.5, 0.0)


def test_the_table_says_who_is_not_installed_and_what_is_doubtful():
    comparison = Comparison("step", Job(), [Contestant("we", "ours")], ("step", 10))
    seconds = {"we": [1.0, 1.0, 1.0], "they": [1.5, 1.2, 1.5]}
    outcome = Outcome(seconds, {"we": 9.0}, {"we": 2**20, "they": 2**21}, {}, ["PyTorch"])
    text = tables.table(tables.as_dict(comparison, outcome))
    assert "| we | 100.0, 100.0, 100.0 | 1.000 (1.000 to 1.000) | 0 % | 9.0 | 1 |" in text
    assert "| they | 120.0, 150.0, 150.0 | 1.500 (1.200 to 1.500) | 16 % (!) |  | 2 |" in text
    assert "| PyTorch | not installed |" in text
    assert "no figure to rely on" in text


def test_bfloat16_is_compared_where_the_cpu_multiplies_in_it():
    assert precisions({"cpu_features": "avx2 fma"}) == ["float32"]
    assert precisions({"cpu_features": "avx2 avx512_bf16"}) == ["float32", "mixed_bfloat16"]


def test_turns_that_would_meet_an_evaluation_are_refused(capsys, tmp_path):
    """At batch 1024 an epoch has 53 whole steps; 19 turns of 2 fit, 41 don't."""
    assert main(["step", "--batches=1024", "--rounds=20", f"--out={tmp_path}"]) == 2
    assert "82 steps, an epoch has 53; give --rounds up to 12" in capsys.readouterr().err


def test_recipes_are_compared_over_the_seeds_that_both_reach():
    found = {"fast.cfg": [10.0, 20.0, None], "PyTorch's example": [80.0, 200.0, 90.0]}
    first, second = time_to_99.table(found)[2:]
    assert first.startswith("| fast.cfg | 10.0, 20.0, not reached; median 15.0 | 1.00 ")
    assert second.startswith(
        "| PyTorch's example | 80.0, 200.0, 90.0; median 140.0 | 9.00 (8.00 to 10.00) "
    )


def test_a_busy_machine_is_said():
    found = {**tables.machine(), "load_before": 0.2}
    assert "\n" not in tables.say(found)
    assert "(!) load 3.0 before the start" in tables.say({**found, "load_before": 3.0})
