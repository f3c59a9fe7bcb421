"""The supervisor of SLURM jobs and its standby, with a stand-in for SLURM's commands.

The real ones are in tests/slurm; here are the cases that a real cluster takes minutes for.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mnist_dist.run import publishing
from tests.process.trainer import DEADLINE_S
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
JOB = "JobId=7 JobState={state} Requeue={requeue} EndTime={end} PreemptTime=None NodeList={nodes}"


class Slurm:
    """A job of three nodes on the stand-in."""

    def __init__(self, folder):
        self.folder = folder
        self.log, self.started = folder / "log", []
        for name in ("srun", "scontrol", "squeue", "scancel"):
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            source = Path(__file__).with_name("slurm_stand_in.py").read_text()
            path.write_text(f"#!{sys.executable}\n{source}")
            path.chmod(0o755)
        self.answer()

    def answer(self, state="RUNNING", requeue=1, end="Unknown", nodes="n[1-3]"):
        text = JOB.format(state=state, requeue=requeue, end=end, nodes=nodes)
        draft = self.folder / "job.draft"
        draft.write_text(text)
        draft.rename(self.folder / "job")

    def dead(self, *hosts):
        (self.folder / "dead").write_text(" ".join(hosts))

    def start(self, *tries, flags=(), **environment):
        (self.folder / "tries.json").write_text(json.dumps(tries))
        variables = {
            "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NAME": "job",
            "SLURMD_NODENAME": "n1", "STAND_IN": str(self.folder), "PYTHONPATH": str(ROOT),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "MNIST_DIST_PYTHON": sys.executable,
        }  # fmt: skip
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mnist_dist.launch.slurm", *flags],
                env={**os.environ, **variables, **environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process.pid)
        return process

    def close(self):
        for group in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def run(self, *tries, **more):
        code = self.start(*tries, **more).wait(timeout=DEADLINE_S)
        return code, self.said

    @property
    def said(self):
        return self.log.read_text()

    @property
    def tried(self):
        """The hosts of each try."""
        paths = sorted(self.folder.glob("try-*"), key=lambda path: int(path.name[4:]))
        return [path.read_text() for path in paths]

    def called(self, text):
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if text in line]

    def wait_said(self, text):
        wait_for(text, lambda: text in self.said, DEADLINE_S)


@pytest.fixture
def slurm(tmp_path):
    made = Slurm(tmp_path)
    yield made
    made.close()


def test_done(slurm):
    code, said = slurm.run({})
    assert (code, slurm.tried) == (0, ["n1 n2 n3"])
    assert said.endswith("train.slurm: finished\n")


def test_a_killed_task_is_started_again_on_its_host(slurm):
    code, said = slurm.run({"0": 1, "1": "Killed", "2": 1}, {})
    assert (code, slurm.tried) == (0, ["n1 n2 n3", "n1 n2 n3"])
    assert "worker 1 (n2) killed: goes on from step 0 on n1, n2, n3, try 1 of 3 without" in said


def test_a_host_that_killed_twice_is_left_out(slurm):
    code, said = slurm.run({"1": "Killed"}, {"1": "Killed"}, {})
    assert (code, slurm.tried) == (0, ["n1 n2 n3", "n1 n2 n3", "n1 n3"])
    assert "; idle: n2 (left out)\n" in said


def test_a_host_suspected_of_wrong_bits_is_left_out_at_once(slurm):
    code, said = slurm.run({"0": 1, "1": 1, "2": 76}, {})
    assert (code, slurm.tried) == (0, ["n1 n2 n3", "n1 n2"])
    assert "worker 2 (n3) suspected of wrong bits: goes on from step 0 on n1, n2" in said


UNDECIDED = {"0": 76, "1": 76}


def test_two_hosts_that_differ_without_a_majority_are_both_left_out(slurm):
    """The node that --shards left idle goes on alone: half of the two nodes that trained."""
    code, said = slurm.run(UNDECIDED, {}, flags=["--shards=2"])
    assert (code, slurm.tried) == (0, ["n1 n2", "n3"])
    assert "on n3, try 1 of 3 without progress; idle: n1, n2 (left out)\n" in said


def test_two_hosts_that_differ_both_go_on_if_there_is_no_other(slurm):
    slurm.answer(nodes="n[1-2]")
    nodes = {"SLURM_JOB_NODELIST": "n[1-2]", "MAX_RESTARTS": "1"}
    code, said = slurm.run(UNDECIDED, UNDECIDED, flags=["--shards=2"], **nodes)
    assert (code, slurm.tried) == (76, ["n1 n2", "n1 n2"])
    assert "ended with exit code 76: 1 restart brought no newer checkpoint" in said


def test_idle_nodes_are_left_out_or_not_needed(slurm):
    nodes = {"SLURM_JOB_NODELIST": "n[1-4]", "MAX_RESTARTS": "1"}
    slurm.answer(nodes="n[1-4]")
    code, said = slurm.run({"1": 76}, {}, flags=["--shards=4"], **nodes)
    assert (code, slurm.tried) == (0, ["n1 n2 n3 n4", "n1 n3"])
    assert "idle: n2 (left out), n4 (--shards=4)\n" in said


def test_a_node_that_doesnt_answer_is_left_out_and_tried_again_later(slurm):
    slurm.dead("n2")
    code, said = slurm.run({"0": 1, "1": "lost", "2": 1}, {"0": 1}, {})
    assert (code, slurm.tried) == (0, ["n1 n2 n3", "n1 n3", "n1 n3"])
    assert "worker 1 (n2) lost: goes on from step 0 on n1, n3" in said


def test_a_spare_replaces_it(slurm):
    slurm.dead("n2")
    code, said = slurm.run({"0": 1, "1": "lost"}, {}, MNIST_DIST_SPARES="1")
    assert (code, slurm.tried) == (0, ["n1 n2", "n1 n3"])
    assert "trains on n1, n2; idle: n3 (MNIST_DIST_SPARES)" in said


def test_a_spare_waits_while_the_others_answer(slurm):
    code, _ = slurm.run({"1": "Killed"}, {"1": "Killed"}, {}, MNIST_DIST_SPARES="1")
    assert (code, slurm.tried) == (0, ["n1 n2", "n1 n2", "n1 n3"])


@pytest.mark.parametrize(("least", "ends"), [("", "requeued"), ("1", "finished")])
def test_fewer_nodes_than_wanted(slurm, least, ends):
    slurm.dead("n2", "n3")
    tries = ({"0": 1, "1": "lost", "2": "lost"}, {})
    code, said = slurm.run(*tries, MNIST_DIST_MIN_NODES=least)
    assert (code, f"train.slurm: {ends}" in said) == (1 if ends == "requeued" else 0, True)
    assert bool(slurm.called("scontrol requeue 7")) == (ends == "requeued")
    too_few = "1 worker(s) can be started here, at least 2 are needed"
    assert (too_few in said) == (ends == "requeued")


def test_shards_choose_the_number_of_nodes(slurm):
    code, said = slurm.run({"1": "Killed"}, {}, flags=["--shards=8"])
    assert (code, slurm.tried) == (0, ["n1 n2", "n1 n2"])
    assert "trains on n1, n2; idle: n3 (--shards=8)" in said


def test_restarts_without_progress_are_bounded_and_counted_in_the_runs_folder(slurm):
    code, said = slurm.run({"0": 1}, {"0": 1}, MAX_RESTARTS="1")
    assert code == 1
    assert "1 restart brought no newer checkpoint (MAX_RESTARTS)\n" in said
    assert not slurm.called("scontrol requeue")
    record = json.loads((slurm.folder / "runs/job-7/checkpoints/attempts.json").read_text())
    assert record == {"job": "7", "step": 0, "tries": 2}


def test_progress_starts_the_count_anew(slurm):
    folder = slurm.folder / "runs/job-7/checkpoints"
    folder.mkdir(parents=True)
    (folder / "attempts.json").write_text('{"job": "7", "step": 0, "tries": 3}')
    publishing.publish(folder, 40, {}, lambda place: (place / "weights").write_bytes(b"1"))
    code, said = slurm.run({"0": 1}, {})
    assert code == 0
    assert "worker 0 (n1) failed: goes on from step 40 on n1, n2, n3\n" in said


@pytest.mark.parametrize("code", [2, 126, 127])
def test_a_refused_try_isnt_counted(slurm, code):
    assert slurm.run({"0": code, "1": 1})[0] == 2
    assert "not started, see above; not requeued" in slurm.said
    assert not (slurm.folder / "runs/job-7/checkpoints").exists()


@pytest.mark.parametrize(("requeue", "words"), [(1, "requeued"), (0, "left at step 0; to go on")])
def test_saved_near_the_time_limit(slurm, requeue, words):
    slurm.answer(end="2000-01-01T00:00:00", requeue=requeue)
    code, said = slurm.run(dict.fromkeys("012", 75))
    assert code == 75
    assert words in said


def test_saved_by_hand_it_goes_on(slurm):
    code, said = slurm.run(dict.fromkeys("012", 75), {})
    assert code == 0
    assert "saved when told to stop: goes on from step 0 on n1, n2, n3" in said


def test_a_job_that_slurm_ends_is_left_to_it(slurm):
    slurm.answer(state="COMPLETING")
    code, said = slurm.run(dict.fromkeys("012", 75))
    assert code == 75
    assert "the job is in state COMPLETING: left to SLURM" in said
    assert not (slurm.folder / "runs/job-7/checkpoints").exists()


def test_it_waits_for_slurmctld(slurm):
    (slurm.folder / "job").unlink()
    process = slurm.start({"0": 1}, {})
    slurm.wait_said("slurmctld doesn't answer: waiting")
    slurm.answer()
    assert process.wait(timeout=DEADLINE_S) == 0


def lose_the_supervisor(slurm, *later_tries, **environment):
    """Starts a run and takes its batch host away, with the supervisor, in the middle of a try."""
    tries = ({"0": "lost"}, *later_tries)
    process = slurm.start(*tries, flags=["--peer_timeout=2"], **environment)
    wait_for("the standby", lambda: slurm.called("mnist_dist.launch.standby"), DEADLINE_S)
    wait_for("the first try", lambda: slurm.tried, DEADLINE_S)
    take_away(slurm, process)


def take_away(slurm, process):
    """Has n1 and the supervisor on it end, and waits for the standby on n2."""
    slurm.dead("n1")
    process.kill()
    process.wait()
    slurm.wait_said("n1, where this script ran, doesn't answer: n2 goes on in its place")


def test_the_standby_takes_over(slurm):
    lose_the_supervisor(slurm, {"0": 1, "1": "Killed"}, {})
    slurm.wait_said("train.slurm: requeued, to end with exit code 0")
    assert "worker 0 (n1) lost: goes on from step 0 on n2, n3" in slurm.said
    assert "worker 1 (n3) killed: goes on from step 0 on n2, n3" in slurm.said
    assert slurm.tried == ["n1 n2 n3", "n2 n3", "n2 n3"]
    assert slurm.called("scontrol requeue 7")


def test_a_requeue_that_ends_its_own_command_has_worked(slurm):
    """It isn't cancelled then, which would undo it."""
    (slurm.folder / "requeue-ends-all").touch()
    lose_the_supervisor(slurm, {})
    slurm.wait_said("train.slurm: requeued, to end with exit code 0")
    assert not slurm.called("scancel 7")


@pytest.mark.parametrize("refused_by", ["job", "site"])
@pytest.mark.parametrize("least", ["", "3"])
def test_a_standby_that_cant_requeue_cancels_the_job(slurm, least, refused_by):
    slurm.answer(requeue=int(refused_by == "site"))
    (slurm.folder / "no-requeue").touch()
    lose_the_supervisor(slurm, {}, MNIST_DIST_MIN_NODES=least)
    slurm.wait_said("cancels the job")
    wait_for("the end of the job", lambda: slurm.called("scancel 7"), DEADLINE_S)
    assert slurm.called("scontrol requeue 7") == ["scontrol requeue 7"] * (refused_by == "site")
    assert ("train.slurm: finished\n" in slurm.said) == (not least)
    assert ("2 worker(s) can be started here, at least 3 are needed" in slurm.said) == bool(least)
    assert ("submit the same again with MNIST_DIST_RUN_DIR=" in slurm.said) == bool(least)


def test_a_standby_that_cant_take_over_cancels_the_job(slurm):
    """Here a folder is in the place of a file that it writes."""
    process = slurm.start({"0": "lost"}, flags=["--peer_timeout=2"])
    wait_for("the standby", lambda: slurm.called("mnist_dist.launch.standby"), DEADLINE_S)
    wait_for("the first try", lambda: slurm.tried, DEADLINE_S)
    record = slurm.folder / "runs/job-7/launcher.json"
    record.unlink()
    record.mkdir()
    take_away(slurm, process)
    slurm.wait_said("submit the same again with MNIST_DIST_RUN_DIR=")
    wait_for("the end of the job", lambda: slurm.called("scancel 7"), DEADLINE_S)
    assert "Traceback" not in slurm.said


def test_a_standby_that_has_ended_is_started_on_another_node(slurm):
    slurm.start({"0": "lost"})
    wait_for("the standby", lambda: standbys(), DEADLINE_S)
    standbys()[0].kill()
    wait_for("another", lambda: len(slurm.called("mnist_dist.launch.standby")) == 2, DEADLINE_S)
    first, second = slurm.called("mnist_dist.launch.standby")
    assert ("--nodelist=n2 " in first, "--nodelist=n3 " in second) == (True, True)


def standbys():
    """This process's descendants that stand by."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            if "mnist_dist.launch.standby" in words and "srun" not in "".join(words[:2]):
                found.append(process)
    return found
