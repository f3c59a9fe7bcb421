"""How the tasks of a step ended, from lines that srun 22.05 and the workers have written."""

import pytest

from mnist_dist.launch.decision import How
from mnist_dist.launch.slurm_report import Report

HOSTS = ("n1", "n2", "n3")
GONE = "mnist_dist: worker {} (host {}), step 20: worker {} (host {}) is gone (last heard of at 20)"
SILENT = "mnist_dist: worker {} (host {}), step 20: worker {} (host {}) fell silent 6 s ago, at 20"


def report(*lines, hosts=HOSTS, suffix=""):
    made = Report(hosts, suffix)
    for line in lines:
        made.read(line)
    return made


def ways(made, code=1, forced=False):
    return [(end.host, end.how.name) for end in made.ends(code, forced)]


def test_all_done():
    assert ways(report(), code=0) == [(host, "DONE") for host in HOSTS]


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("Exited with exit code 1", "FAILED"),
        ("Exited with exit code 2", "REFUSED"),
        ("Exited with exit code 127", "REFUSED"),
        ("Exited with exit code 75", "SAVED"),
        ("Exited with exit code 76", "WRONG_BITS"),
        ("Exited with exit code 137", "KILLED"),
        *((f"Exited with exit code {code}", "FAILED") for code in (129, 130, 138, 140, 143)),
        ("Killed", "KILLED"),
        ("Out Of Memory", "KILLED"),
        ("Segmentation fault (core dumped)", "KILLED"),
        ("User defined signal 2", "FAILED"),
        ("Terminated", "FAILED"),
    ],
)
def test_what_srun_says_of_a_task(text, how):
    made = report(f"srun: error: n2: task 1: {text}")
    assert ways(made) == [("n1", "DONE"), ("n2", how), ("n3", "DONE")]
    assert (made.failed, made.stopped) == (how != "SAVED", how == "SAVED")


def test_several_tasks_and_nodes_in_one_line():
    made = report("srun: error: n[1-2]: tasks 0-1: Exited with exit code 75")
    made.read("srun: error: n3: tasks 2: Exited with exit code 75")
    assert ways(made, 75) == [(host, "SAVED") for host in HOSTS]
    made = report("srun: error: n1: tasks 0,2: Exited with exit code 1", hosts=("n1", "n2", "n1"))
    assert ways(made) == [("n1", "FAILED"), ("n2", "DONE"), ("n1", "FAILED")]


def test_several_tasks_are_killed():
    made = report("srun: error: n2: task 1: Killed", "srun: error: n3: task 2: Killed")
    assert ways(made) == [("n1", "DONE"), ("n2", "KILLED"), ("n3", "KILLED")]


@pytest.mark.parametrize(
    "line",
    [
        "srun: forcing job termination",
        "srun: First task exited 180s ago",
        "srun: Job step aborted: Waiting up to 22 seconds for job step to finish.",
        "slurmstepd-n1: error: *** STEP 3.6 ON n1 CANCELLED AT 2026-11-30T08:28:41 ***",
        "srun: error: Node failure on n9",
    ],
)
def test_what_slurm_kills_is_not_blamed_on_its_host(line):
    made = report("srun: error: n2: task 1: Killed", line, "srun: error: n[1,3]: tasks 0,2: Killed")
    assert ways(made) == [("n1", "FAILED"), ("n2", "KILLED"), ("n3", "FAILED")]


def test_a_worker_that_the_others_gave_up_and_srun_never_heard_of_again():
    made = report(
        SILENT.format(0, "n1", 2, "n3"), "srun: error: n1: task 0: Exited with exit code 1"
    )
    assert not made.only_lost_are_unheard
    made.read("srun: error: n2: task 1: Exited with exit code 1")
    assert made.only_lost_are_unheard
    assert ways(made, forced=True) == [("n1", "FAILED"), ("n2", "FAILED"), ("n3", "SILENT")]


def test_a_dead_node_whose_tasks_nobody_named():
    made = report("srun: error: n1: tasks 0-1: Exited with exit code 1", hosts=("n1", "n1", "n2"))
    assert not made.only_lost_are_unheard
    assert ways(made, forced=True) == [("n1", "FAILED"), ("n1", "FAILED"), ("n2", "LOST")]


@pytest.mark.parametrize(
    "line",
    [
        "srun: error: Node failure on n3",
        "srun: error: Task launch for StepId=7.0 failed on node n3: Communication failure",
    ],
)
def test_a_node_that_slurm_gave_up(line):
    made = report(line)
    assert made.failed
    made.read("srun: error: n[1-2]: tasks 0-1: Exited with exit code 1")
    assert made.only_lost_are_unheard
    assert ways(made) == [("n1", "FAILED"), ("n2", "FAILED"), ("n3", "LOST")]


def test_a_silent_worker_whose_end_is_heard_of_later():
    lines = [SILENT.format(0, "n1", 2, "n3"), SILENT.format(1, "n2", 2, "n3")]
    lines += [SILENT.format(2, "n3", 0, "n1")]
    lines += [f"srun: error: {host}: task {rank}: Exited with exit code 1"
              for rank, host in enumerate(HOSTS)]  # fmt: skip
    assert ways(report(*lines)) == [("n1", "FAILED"), ("n2", "FAILED"), ("n3", "SILENT")]
    assert {how for _, how in ways(report(*lines[1:]))} == {"FAILED"}  # one against one


def test_hosts_of_another_network_are_named_by_their_nodes():
    made = report(GONE.format(0, "n1-ib", 2, "n3-ib"), suffix="-ib")
    made.read("srun: error: n[1-2]: tasks 0-1: Exited with exit code 1")
    assert ways(made, forced=True)[2] == ("n3", "LOST")


@pytest.mark.parametrize(
    "line",
    ["slurmstepd: error: execve(): /no/python: No such file", "/bin/python: No module named x"],
)
def test_a_program_that_isnt_there(line):
    made = report(line, "srun: error: n2: task 1: Exited with exit code 1")
    assert ways(made)[1] == ("n2", "REFUSED")


def test_a_task_that_srun_started_on_another_node_than_expected():
    made = report("srun: error: n3: task 0: Exited with exit code 1")
    assert ways(made)[0] == ("n3", "FAILED")


def test_a_node_whose_name_is_no_host_list():
    assert ways(report("srun: error: n[2: task 1: Killed"))[1] == ("n[2", "KILLED")


def test_srun_itself_failed():
    made = report("srun: error: Unable to create step for job 7: Requested nodes are busy")
    assert {end.how for end in made.ends(1, forced=False)} == {How.FAILED}
