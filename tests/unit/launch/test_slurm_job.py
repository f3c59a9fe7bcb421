"""A job from SLURM's variables, its state from scontrol's words, and the options of a step."""

import time
from pathlib import Path

import pytest

from mnist_dist.errors import UsageError
from mnist_dist.launch import slurm_job
from mnist_dist.launch.slurm_owner import claim, superseded_by
from mnist_dist.launch.slurm_settings import Run, Settings
from mnist_dist.launch.slurm_step import layout

BATCH = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NAME": "digits"}
SHOWN = (
    "JobId=7 JobName=digits UserId=root(0) JobState=RUNNING Reason=None Requeue=1 Restarts=0 "
    "StartTime=2026-11-30T08:00:00 EndTime=2026-11-30T09:00:00 PreemptTime=None NodeList=n[1,3] "
    "Command=/a/NodeList=x/train.slurm"
)


def job(**more):
    return slurm_job.of({**BATCH, **more}, Path("/home"))


def options(hosts, **more):
    return layout(job(**more), hosts, {**BATCH, **more})


def test_a_job():
    made = job()
    assert (made.called, made.workers) == ("7", ("n1", "n2", "n3"))
    assert made.folder == Path("/home/runs/digits-7")
    assert job(MNIST_DIST_RUNS="/runs").folder == Path("/runs/digits-7")
    assert job(MNIST_DIST_RUN_DIR="/a b").to_go_on == "MNIST_DIST_RUN_DIR='/a b'"


def test_an_element_of_an_array():
    made = job(SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="2")
    assert (made.number, made.called) == ("7", "5_2")
    assert made.folder.name == "digits-5_2"


def test_tasks_are_counted_where_sbatch_was_given_a_number():
    """Without one SLURM_TASKS_PER_NODE may be the number of cores; srun starts one on a node."""
    assert job(SLURM_TASKS_PER_NODE="64(x3)").tasks == (1, 1, 1)
    made = job(SLURM_TASKS_PER_NODE="2(x2),1", SLURM_NTASKS="5")
    assert made.workers == ("n1", "n1", "n2", "n2", "n3")


def test_gpus_of_each_task():
    assert job(SLURM_GPUS_ON_NODE="8").gpus == 8
    several = {"SLURM_NTASKS": "6", "SLURM_TASKS_PER_NODE": "2(x3)", "SLURM_GPUS_ON_NODE": "2"}
    assert job(**several, SLURM_GPUS_PER_TASK="a100:1").gpus == 1
    assert job(**several, SLURM_GPU_BIND="single:1").gpus == 1
    with pytest.raises(UsageError, match="ask for --gpus-per-task=1"):
        job(**several)


def test_a_heterogeneous_job_is_refused():
    with pytest.raises(UsageError, match=r"SLURM_HET_SIZE=2: .* submit a job of one component"):
        job(SLURM_HET_SIZE="2")


def test_the_state_of_a_job():
    now = time.mktime(time.strptime("2026-11-30T08:50:00", "%Y-%m-%dT%H:%M:%S"))
    assert slurm_job.parse_state(SHOWN, now) == ("RUNNING", 600.0, False, True, ("n1", "n3"))
    changed = SHOWN.replace("PreemptTime=None", "PreemptTime=2026-11-30T08:49:00")
    assert slurm_job.parse_state(changed, now).preempted
    unlimited = SHOWN.replace("EndTime=2026-11-30T09:00:00", "EndTime=Unknown")
    assert slurm_job.parse_state(unlimited, now).left_s == float("inf")
    assert slurm_job.parse_state("", now).name == ""


def test_all_hosts_are_started_as_sbatch_was_asked():
    assert options(("n1", "n2", "n3")) == (["--cpu-bind=none"], BATCH)
    assert options(("n1", "n2", "n3"), SLURM_CPUS_PER_TASK="4")[0] == ["--cpus-per-task=4"]


def test_some_hosts_are_named():
    words, _ = options(("n1", "n3"))
    assert words[1:] == ["--nodes=2", "--ntasks=2", "--nodelist=n1,n3", "--ntasks-per-node=1"]


def test_fewer_tasks_on_some_hosts():
    several = {"SLURM_NTASKS": "6", "SLURM_TASKS_PER_NODE": "2(x3)", "SLURM_NTASKS_PER_NODE": "2"}
    words, environment = options(("n1", "n1", "n2"), **several)
    assert words == ["--nodes=2", "--ntasks=3", "--nodelist=n1,n2"]
    assert "SLURM_NTASKS_PER_NODE" not in environment


def test_gpus_of_the_whole_job_become_those_of_each_node():
    words, environment = options(("n1",), SLURM_GPUS="6", SLURM_GPUS_ON_NODE="2")
    assert words[-1] == "--gpus-per-node=2"
    assert "SLURM_GPUS" not in environment


def test_an_arbitrary_distribution_keeps_its_order(tmp_path):
    (tmp_path / "all").write_text("n3\nn1\nn3\nn2\n")
    more = {
        "SLURM_DISTRIBUTION": "arbitrary", "SLURM_HOSTFILE": f"{tmp_path}/all",
        "MNIST_DIST_RUN_DIR": str(tmp_path), "SLURM_NTASKS": "4",
    }  # fmt: skip
    assert job(**more).tasks == (1, 1, 2)
    assert job(**{**more, "SLURM_HOSTFILE": ""}).tasks == (2, 1, 1)
    assert options(("n1", "n2", "n3", "n3"), **more)[1]["MNIST_DIST_HOSTS"] == "n3,n1,n3,n2"
    words, environment = options(("n1", "n3", "n3"), **more)
    assert words == ["--nodes=2", "--ntasks=3"]
    assert environment["MNIST_DIST_HOSTS"] == "n3,n1,n3"
    assert Path(environment["SLURM_HOSTFILE"]).read_text() == "n3\nn1\nn3\n"


def test_settings():
    assert Settings.read({}, 3) == (("python",), ("python",), (), 0, 0, 3)
    given = {
        "MNIST_DIST_PYTHON": "run python", "MNIST_DIST_LAUNCHER": "/usr/bin/python3",
        "MNIST_DIST_SRUN_ARGS": "--label -v", "MNIST_DIST_SPARES": "1", "MNIST_DIST_MIN_NODES": "2",
        "MAX_RESTARTS": "9",
    }  # fmt: skip
    assert Settings.read(given, 3) == (
        *(("run", "python"), ("/usr/bin/python3",), ("--label", "-v"), 1, 2, 9),
    )


@pytest.mark.parametrize(
    ("name", "text", "most"),
    [("MNIST_DIST_SPARES", "3", 2), ("MNIST_DIST_SPARES", "one", 2), ("MAX_RESTARTS", "-1", None),
     ("MNIST_DIST_MIN_NODES", "4", 3)],
)  # fmt: skip
def test_settings_out_of_range(name, text, most):
    with pytest.raises(UsageError, match=f"{name}={text}: give a number from 0 to {most or ''}"):
        Settings.read({name: text}, 3)


def test_the_flags_of_a_run(tmp_path):
    run = Run.read(tmp_path, ["--shards=8", "--stop_lead_s=30", "--virtual_devices=2"])
    assert run.flags[:3] == (f"--run_dir={tmp_path}", "--log_every_s=30", "--stop_lead_s=120")
    assert (run.shards, run.lead_s, run.replicas(4)) == (8, 30, 4)
    assert Run.of(["--no_gpu"]).replicas(4) == 1
    assert Run.of(["--strategy=one"]).replicas(4) == 1
    refused = Run.read(tmp_path, ["--epoch=3"])
    assert (refused.config, refused.shards, refused.lead_s, refused.replicas(4)) == (
        None,
        0,
        120,
        1,
    )


def test_a_run_that_an_older_version_began(tmp_path):
    (tmp_path / "output").mkdir()
    assert Run.read(tmp_path, []).flags[0] == f"--output_dir={tmp_path}/output"


def test_one_supervisor_has_a_run(tmp_path):
    made = job(MNIST_DIST_RUN_DIR=str(tmp_path))
    assert superseded_by(made, "n1") == ""
    claim(made, "n1")
    assert superseded_by(made, "n1") == ""
    claim(made, "n2")
    assert superseded_by(made, "n1") == "n2"
    assert superseded_by(made._replace(restart=1), "n1") == ""
    assert superseded_by(made._replace(number="8"), "n1") == ""
    (tmp_path / "launcher.json").write_text("[")
    assert superseded_by(made, "n1") == ""
