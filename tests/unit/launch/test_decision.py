"""The rows of the table of decisions, and what each of them depends on."""

import itertools
import re
from pathlib import Path

import pytest

from mnist_dist.launch import decision
from mnist_dist.launch.decision import Action, End, How, Situation

HOSTS = ("a", "b", "c", "d")


def situation(*ways, **changes):
    """Four hosts with a worker each, all of which answer; the workers ended in these ways."""
    ends = [End(rank, HOSTS[rank], how) for rank, how in enumerate(ways)]
    usual = {"hosts": HOSTS, "losses": {}, "progress": True, "tries": 0, "max_restarts": 3}
    return Situation(ends, **{**usual, **changes})


def table(text):
    """Situation -> action, of the rows of a table in Markdown with this head."""
    lines = iter(text.splitlines())
    for line in lines:
        if re.fullmatch(r"\| situation +\| action +\|", line):
            next(lines)
            rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
            return dict([word.strip() for word in row.strip("|").split("|")] for row in rows)
    raise AssertionError("no such table")


FEW = "{} worker(s) can be started here, at least {} are needed"
LATE = "9 s are left of the time limit"
REFUSED = "another try would be refused, too"
TRIED = "{} restarts brought no newer checkpoint"
LOST_ONE = (How.FAILED, How.FAILED, How.KILLED, How.FAILED)
STOPPED = {"stop_requested": True}
RULES = table(decision.__doc__)
CASES = {  # the table's row -> how the workers ended, what else is known, the reason for the log
    "every worker is done": [
        ([How.DONE] * 4, {}, "finished"),
        ([How.DONE] * 4, STOPPED | {"progress": False, "tries": 9}, "finished"),
    ],
    "a worker was refused: wrong input, or its program is missing": [
        ([How.FAILED, How.REFUSED], {}, REFUSED),
        ([How.REFUSED], STOPPED, REFUSED),
        ([How.KILLED, How.REFUSED], {"tries": 9, "progress": False, "hosts": ()}, REFUSED),
    ],
    "the launcher was asked to stop": [
        ([How.SAVED] * 4, STOPPED, "asked to stop"),
        ([How.KILLED], STOPPED | {"progress": False, "tries": 9}, "asked to stop"),
    ],
    "more than `max_restarts` restarts in a row brought no newer checkpoint": [
        (LOST_ONE, {"progress": False, "tries": 3}, TRIED.format(3)),
        (LOST_ONE, {"progress": False, "max_restarts": 0}, TRIED.format(0)),
        (LOST_ONE, {"progress": False, "tries": 3, "time_left_s": 0.0, "least_time_s": 1.0},
         TRIED.format(3)),
    ],
    "less than `least_time_s` is left of the time limit": [
        (LOST_ONE, {"time_left_s": 9.0, "least_time_s": 10.0}, LATE),
        (LOST_ONE, {"time_left_s": 9.0, "least_time_s": 10.0, "hosts": ()}, LATE),
    ],
    "fewer than `min_workers` workers can be started": [
        (LOST_ONE, {"hosts": ("a",), "min_workers": 2}, FEW.format(1, 2)),
        (LOST_ONE, {"hosts": ()}, FEW.format(0, 1)),
        (LOST_ONE, {"shards": 2, "replicas": 4}, FEW.format(0, 1)),
    ],
    "anything else": [
        (LOST_ONE, {}, "worker 2 (c) killed"),
        (LOST_ONE, {"progress": False, "tries": 2}, "worker 2 (c) killed"),
        (LOST_ONE, {"time_left_s": 120.0, "least_time_s": 120.0}, "worker 2 (c) killed"),
        ([How.SAVED] * 4, {}, "saved when told to stop"),
        ([How.DONE, How.SILENT, How.LOST], {}, "workers 1 (b) silent, 2 (c) lost"),
        ([How.FAILED, How.DONE], {}, "worker 0 (a) failed"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.parametrize(
    ("row", "ways", "changes", "reason"),
    [(row, *case) for row, cases in CASES.items() for case in cases],
)
def test_the_table(row, ways, changes, reason, requeue):
    decided = decision.decide(situation(*ways, can_requeue=requeue, **changes))
    action = RULES[row]
    if action == "requeue" and not requeue:
        action = "give up"
    assert (decided.action.value, decided.reason) == (action, reason)
    assert bool(decided.hosts) == (action == "again")


def test_the_page_has_the_table_and_each_row_is_tested():
    assert list(CASES) == list(RULES)
    page = (Path(__file__).parents[3] / "launch" / "README.md").read_text()
    assert list(table(page).items()) == list(RULES.items())


def test_progress_starts_the_count_of_tries_anew():
    assert decision.decide(situation(*LOST_ONE, tries=3)).tries == 0
    assert decision.decide(situation(*LOST_ONE, tries=1, progress=False)).tries == 2


def test_it_goes_on_on_the_hosts_that_answer():
    decided = decision.decide(situation(*LOST_ONE, hosts=("a", "b", "d")))
    assert (decided.hosts, decided.idle) == (("a", "b", "d"), ())


def test_a_sound_host_gets_its_worker_back():
    assert decision.decide(situation(*LOST_ONE)).hosts == HOSTS


def test_a_host_that_loses_workers_twice_is_left_out():
    decided = decision.decide(situation(*LOST_ONE, losses={"c": 1}))
    assert (decided.hosts, decided.idle) == (("a", "b", "d"), ("c",))
    assert decided.losses == {"c": 2}


def test_a_host_suspected_of_wrong_bits_is_left_out_at_once():
    decided = decision.decide(situation(How.FAILED, How.FAILED, How.WRONG_BITS, How.FAILED))
    assert (decided.hosts, decided.idle) == (("a", "b", "d"), ("c",))
    assert decided.reason == "worker 2 (c) suspected of wrong bits"


UNDECIDED = (How.WRONG_BITS, How.WRONG_BITS)


def test_two_hosts_that_differ_without_a_majority_are_both_left_out():
    """Whether the others are spares or trained too; with fewer than `min_workers` it requeues."""
    decided = decision.decide(situation(*UNDECIDED, most_workers=2, shards=4))
    assert (decided.hosts, decided.idle) == (("c", "d"), ("a", "b"))
    decided = decision.decide(situation(*UNDECIDED, How.FAILED, How.FAILED))
    assert (decided.hosts, decided.idle) == (("c", "d"), ("a", "b"))
    reason = "workers 0 (a) suspected of wrong bits, 1 (b) suspected of wrong bits"
    assert decided.reason == reason
    decided = decision.decide(situation(*UNDECIDED, min_workers=3, can_requeue=True))
    assert decided.action is Action.REQUEUE


def test_two_hosts_that_differ_are_both_kept_if_there_is_no_other():
    """As often as restarts without progress are allowed; hosts left out before come back, too."""
    ends = [End(rank, host, How.WRONG_BITS) for rank, host in enumerate("ab")]
    decided = decision.decide(Situation(ends, ("a", "b"), {}, True, 0, 3))
    assert (decided.action, decided.hosts) == (Action.AGAIN, ("a", "b"))
    decided = decision.decide(Situation(ends, ("a", "b"), decided.losses, False, 3, 3))
    assert decided.action is Action.GIVE_UP


def test_a_failure_of_the_program_is_not_blamed_on_its_host():
    decided = decision.decide(situation(How.FAILED, How.SAVED, losses={"a": 1}))
    assert (decided.hosts, decided.losses) == (HOSTS, {"a": 1})


def test_the_only_host_is_never_left_out():
    """As on one machine, where all workers share it."""
    ends = [End(rank, "a", How.KILLED) for rank in range(2)]
    decided = decision.decide(Situation(ends, ("a", "a"), {"a": 5}, True, 0, 3))
    assert (decided.action, decided.hosts) == (Action.AGAIN, ("a", "a"))


def test_spares_replace_lost_hosts():
    hosts = ("a", "b", "d", "spare")
    decided = decision.decide(situation(*LOST_ONE, hosts=hosts, most_workers=4))
    assert (decided.hosts, decided.idle) == (hosts, ())
    decided = decision.decide(situation(*LOST_ONE, hosts=hosts, most_workers=3))
    assert (decided.hosts, decided.idle) == (("a", "b", "d"), ("spare",))


def test_shards_choose_the_number_of_workers():
    decided = decision.decide(situation(*LOST_ONE, hosts=("a", "b", "d"), shards=8))
    assert (decided.hosts, decided.idle) == (("a", "b"), ("d",))


@pytest.mark.parametrize(
    ("most", "shards", "replicas", "number"),
    [(7, 0, 3, 7), (7, 8, 1, 4), (8, 8, 1, 8), (9, 8, 1, 8), (7, 8, 4, 2), (1, 8, 3, 0),
     (0, 8, 1, 0)],
)  # fmt: skip
def test_allowed(most, shards, replicas, number):
    assert decision.allowed(most, shards, replicas) == number


@pytest.mark.parametrize(
    ("returncode", "how"),
    [(0, "DONE"), (75, "SAVED"), (76, "WRONG_BITS"),
     (2, "REFUSED"), (126, "REFUSED"), (127, "REFUSED"), (1, "FAILED"),
     (128, "FAILED"), (-9, "KILLED"), (137, "KILLED")],
)  # fmt: skip
def test_how_a_process_ended(returncode, how):
    assert decision.how(returncode) is How[how]


def test_a_long_list_of_lost_workers_is_cut():
    ends = [End(rank, f"n{rank}", How.LOST) for rank in range(9)]
    reason = decision.decide(Situation(ends, ("x",), {}, True, 0, 3)).reason
    assert reason.endswith("3 (n3) lost and 5 more")
