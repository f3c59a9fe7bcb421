"""What the sbatch scripts do around the trainer: arguments, folders, restarts, sweeps."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.slurm.conftest import ROOT

OWN_FLAGS = 3  # the script's, before a user's
HOSTILE = [
    "--a=b c",
    "--quote='\"",
    "$HOME $(id) `id`",
    "*",
    "?[a-z]",
    "line\nbreak",
    "",
    "--",
    "back\\slash",
    "é;&|<>",
    "#no comment",
]


@pytest.fixture
def stand_in(tmp_path):
    """An interpreter that runs all but the trainer, and of that says its arguments."""
    path = tmp_path / "python-stand-in"
    path.write_text(
        f"#!/bin/bash\n"
        f'if [[ $* != "-m mnist_dist.train "* ]]; then exec {sys.executable} "$@"; fi\n'
        f'printf "%s\\0" "${{@:3}}" > "{tmp_path}/arguments-${{SLURM_JOB_ID}}-$SLURM_PROCID"\n'
        f'echo "gpus=$CUDA_VISIBLE_DEVICES cpus=${{SLURM_CPUS_PER_TASK:-}} word=${{WORD:-}}"\n'
        f"exit ${{STAND_IN_EXIT:-0}}\n"
    )
    path.chmod(0o755)
    return str(path)


def arguments(folder, job, rank=0):
    return (folder / f"arguments-{job}-{rank}").read_text().split("\0")[:-1]


def test_arguments_pass_as_they_are(submit, stand_in, tmp_path):
    job = submit(["--nodes=2"], flags=HOSTILE, MNIST_DIST_PYTHON=stand_in).wait()
    folder = tmp_path / "all runs" / f"mnist_dist-{job.number}"
    own = [
        f"--run_dir={folder}",
        "--log_every_s=30",
        "--stop_lead_s=120",
    ]  # first, so that a user's win
    for rank in (0, 1):
        assert arguments(tmp_path, job.number, rank) == own + HOSTILE
    assert str(folder) in job.log.split("\n")[1]


def test_site_settings(submit, stand_in, tmp_path):
    setup = tmp_path / "site.sh"
    setup.write_text(f'export MNIST_DIST_PYTHON="env WORD=given {stand_in}"\n')
    job = submit(
        ["--nodes=2", "--cpus-per-task=2", "--gpus-per-node=2"],
        MNIST_DIST_SETUP=str(setup),
        MNIST_DIST_SRUN_ARGS="--label",
        MNIST_DIST_RUN_DIR=str(tmp_path / "mine"),
    ).wait()
    assert "0: gpus=0,1 cpus=2 word=given" in job.log
    assert "1: gpus=0,1 cpus=2 word=given" in job.log
    assert arguments(tmp_path, job.number)[0] == f"--run_dir={tmp_path}/mine"


def test_a_task_per_gpu(submit, stand_in):
    options = ["--nodes=1", "--ntasks=2"]
    job = submit([*options, "--gpus-per-task=1"], MNIST_DIST_PYTHON=stand_in).wait()
    assert "gpus=0 " in job.log
    assert "gpus=1 " in job.log
    job = submit([*options, "--gpus-per-node=2"], MNIST_DIST_PYTHON=stand_in).wait("FAILED")
    assert "ask for --gpus-per-task=1" in job.log


def test_arbitrary_distribution(submit, tmp_path):
    hostfile = tmp_path / "hosts"
    hostfile.write_text("n3\nn1\nn3\n")
    tell = tmp_path / "python-tell"
    code = "import os; from mnist_dist.cluster.topology import from_environment as f; "
    code += "print(f(os.environ))"
    tell.write_text(
        f"#!/bin/bash\n"
        f'if [[ $* != "-m mnist_dist.train "* ]]; then exec {sys.executable} "$@"; fi\n'
        f"exec {sys.executable} -c '{code}'\n"
    )
    tell.chmod(0o755)
    job = submit(
        ["--ntasks=3", "--distribution=arbitrary"],
        SLURM_HOSTFILE=str(hostfile),
        MNIST_DIST_PYTHON=str(tell),
    ).wait()
    told = [line for line in job.log.splitlines() if "workers=('n3:" in line]
    assert len([line for line in told if ", 'n1:" in line and ", 'n3:" in line]) == 3


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MNIST_DIST_PYTHON": "/no/python"}, "set MNIST_DIST_PYTHON"),
        ({"MNIST_DIST_SETUP": "/no/site.sh"}, "MNIST_DIST_SETUP=/no/site.sh failed"),
        (
            {"MNIST_DIST_SETUP": "{site}"},
            "MNIST_DIST_SETUP={site} ended this script with exit code 3",
        ),
        ({"MNIST_DIST_RUNS": "/proc/runs"}, "set MNIST_DIST_RUNS"),
    ],
)
def test_a_wrong_site(submit, tmp_path, environment, said):
    site = tmp_path / "site.sh"
    site.write_text("exit 3\n")
    environment = {name: value.format(site=site) for name, value in environment.items()}
    job = submit(["--nodes=1"], **environment).wait("FAILED")
    assert said.format(site=site) in job.log


def test_an_environment_that_was_kept_from_the_job(submit, stand_in, tmp_path):
    """It says what kept it; what the site's file sets up reaches the tasks."""
    job = submit(["--nodes=1", "--export=NONE"]).wait("FAILED")
    assert "sbatch --export=NONE kept the rest of your environment from the job" in job.log
    site = tmp_path / "site.sh"
    site.write_text(
        f"export MNIST_DIST_PYTHON={stand_in} MNIST_DIST_RUNS={tmp_path}/runs WORD=given\n"
    )
    job = submit(["--nodes=1", f"--export=MNIST_DIST_SETUP={site}"]).wait()
    assert "word=given" in job.log


def test_a_time_limit_below_the_signals_lead_is_said_at_the_first_start(submit, stand_in):
    environment = {"MNIST_DIST_PYTHON": stand_in, "STAND_IN_EXIT": "75", "MAX_RESTARTS": "1"}
    job = submit(["--nodes=1", "--time=1"], **environment)
    job.wait_log("train.slurm: attempt 2").wait_log("MAX_RESTARTS").wait("FAILED")
    assert job.log.count("SLURM tells the tasks to stop 120 s before it") == 1
    assert "sbatch --time=12" in job.log
    assert "s left of the time limit: most of a try is lost" in job.log
    job = submit(["--nodes=1", "--time=10"], MNIST_DIST_PYTHON=stand_in).wait()
    assert "time limit" not in job.log
    options = ["--nodes=1", "--time=1", "--signal=USR2@20"]
    job = submit(options, flags=["--stop_lead_s=20"], MNIST_DIST_PYTHON=stand_in).wait()
    assert "time limit" not in job.log


CANT_START = """#!{python}
import os, socket, sys, time
from mnist_dist.cluster import ports
from mnist_dist.cluster.topology import from_environment
if os.environ.get("SLURM_PROCID") == "1" and "mnist_dist.train" in sys.argv:
    while True:  # till worker 0 waits for this one
        for address in ports.candidates(from_environment(os.environ), 0):
            try:
                socket.create_connection(address, timeout=1).close()
            except OSError:
                continue
            {end}
        time.sleep(0.1)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "end", ["sys.exit(127)", "sys.exit('/bin/python: No module named mnist_dist')"]
)
def test_a_task_that_cant_start_ends_the_others_and_isnt_requeued(cluster, submit, tmp_path, end):
    python = tmp_path / "python"
    python.write_text(CANT_START.format(python=sys.executable, end=end))
    python.chmod(0o755)
    job = submit(["--nodes=2"], flags=["--connect_timeout=600"], MNIST_DIST_PYTHON=str(python))
    job.wait("FAILED")
    assert "worker 0 (host n1): told to stop by SIGUSR2 while waiting for worker 1 (n2:" in job.log
    assert "not started, see above; not requeued" in job.log
    assert cluster.job(job.number)["Restarts"] == "0"


def test_a_wrong_flag_isnt_requeued(cluster, submit):
    job = submit(["--nodes=2"], flags=["--epoch=3"]).wait("FAILED")
    assert "did you mean --epochs?" in job.log
    assert "not requeued" in job.log
    assert cluster.job(job.number)["ExitCode"] == "2:0"
    assert cluster.job(job.number)["Restarts"] == "0"


def test_restarts_without_progress_are_bounded(cluster, submit, stand_in):
    environment = {"MNIST_DIST_PYTHON": stand_in, "STAND_IN_EXIT": "1", "MAX_RESTARTS": "2"}
    job = submit(["--nodes=1"], **environment).wait("FAILED")
    assert job.log.count("goes on from step 0 on n1, try") == 2
    assert "worker 0 (n1) failed: goes on from step 0 on n1, try 2 of 2 without" in job.log
    assert "2 restarts brought no newer checkpoint (MAX_RESTARTS)\n" in job.log
    assert cluster.job(job.number)["Restarts"] == "0"


def test_where_requeue_isnt_allowed_it_says_how_to_go_on(submit, stand_in, tmp_path):
    environment = {"MNIST_DIST_PYTHON": stand_in, "STAND_IN_EXIT": "75"}
    job = submit(["--nodes=1", "--no-requeue", "--time=1"], **environment).wait("FAILED")
    [line] = [line for line in job.log.splitlines() if "submit the same again with" in line]
    folder = tmp_path / "all runs" / f"mnist_dist-{job.number}"
    assert shlex.split(line.partition("with ")[2]) == [f"MNIST_DIST_RUN_DIR={folder}"]
    assert "left at step 0" in line


def test_shards_choose_how_many_nodes_train(submit, stand_in, tmp_path):
    job = submit(["--nodes=3"], flags=["--shards=8"], MNIST_DIST_PYTHON=stand_in).wait()
    assert "trains on n1, n2; idle: n3 (--shards=8)" in job.log
    assert len(list(tmp_path.glob(f"arguments-{job.number}-*"))) == 2


def test_the_minimum_is_at_most_what_shards_allow(submit, stand_in):
    """The stand-in fails. A requeued job would train on one node again, so it isn't requeued."""
    environment = {"MNIST_DIST_PYTHON": stand_in, "STAND_IN_EXIT": "1", "MNIST_DIST_MIN_NODES": "2"}
    flags = ["--shards=2", "--virtual_devices=2"]
    job = submit(["--nodes=2"], flags=flags, MAX_RESTARTS="1", **environment).wait("FAILED")
    assert "trains on n1; idle: n2 (--shards=2)" in job.log
    assert "1 restart brought no newer checkpoint (MAX_RESTARTS)" in job.log
    assert "are needed" not in job.log


def test_an_interpreter_without_srun(submit, stand_in):
    """As in a container."""
    environment = {"MNIST_DIST_PYTHON": f"env PATH=/nowhere {stand_in}"}
    job = submit(["--nodes=1"], **environment).wait("FAILED")
    assert (
        "no srun in this interpreter's PATH, as in a container; set MNIST_DIST_LAUNCHER" in job.log
    )
    job = submit(["--nodes=1"], MNIST_DIST_LAUNCHER=sys.executable, **environment).wait()
    assert "train.slurm: finished" in job.log


def test_a_heterogeneous_job_is_refused(submit, stand_in):
    options = ["--nodes=1", ":", "--nodes=1"]
    job = submit(options, MNIST_DIST_PYTHON=stand_in).wait("FAILED")
    assert "SLURM_HET_SIZE=2: a run is one step, which can't span the components" in job.log


def test_a_sweep(cluster, submit, stand_in, tmp_path):
    lines = tmp_path / "lines of flags.txt"
    lines.write_text("# two runs\n\n--lr=0.1 --dataset='a b' \"--x=$HOME\"\n  --lr=0.2\n--lr='1\n")
    script = "launch/sweep.slurm"
    job = submit(["--array=0-3"], script, [str(lines), "--epochs=1"], MNIST_DIST_PYTHON=stand_in)
    ended = {"COMPLETED", "FAILED"}
    for task in "0123":
        cluster.wait_state(f"{job.number}_{task}", *ended)
    words = [path.read_text().split("\0")[:-1] for path in tmp_path.glob("arguments-*-0")]
    found = {given[OWN_FLAGS]: given for given in words}
    folders = [tmp_path / "all runs" / f"sweep-{job.number}_{task}" for task in "01"]
    given = ["--lr=0.1", "--dataset=a b", "--x=$HOME", "--epochs=1"]
    assert found["--lr=0.1"][OWN_FLAGS:] == given
    assert found["--lr=0.2"][OWN_FLAGS:] == ["--lr=0.2", "--epochs=1"]
    assert [f"--run_dir={folder}" for folder in folders] == [
        found[name][0] for name in ("--lr=0.1", "--lr=0.2")
    ]
    for task in "23":
        assert cluster.job(f"{job.number}_{task}")["ExitCode"] == "2:0"
    logs = "".join(path.read_text() for path in tmp_path.glob("sweep-*.log"))
    assert f"{lines}, line 5: no closing quotation: --lr='1" in logs
    assert "has 3 lines; give --array=0-2" in logs
    assert f"attempt 1 of job {job.number}_0 on" in logs


def test_elements_of_an_array_are_judged_each_by_itself(cluster, submit, stand_in, tmp_path):
    """SLURM's number of one of them is that of the whole array, too."""
    lines = tmp_path / "lines.txt"
    lines.write_text("--lr=0.1\n--lr=0.2\n")
    environment = {"MNIST_DIST_PYTHON": stand_in, "STAND_IN_EXIT": "1", "MAX_RESTARTS": "1"}
    job = submit(["--array=0-1"], "launch/sweep.slurm", [str(lines)], **environment)
    for task in "01":
        cluster.wait_state(f"{job.number}_{task}", "FAILED")
    logs = [path.read_text() for path in tmp_path.glob("sweep-*.log")]
    assert ["left at step 0; to go on" in log for log in logs] == [True, True]


def test_a_sweep_of_real_trainings(cluster, submit, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("--optimizer=momentum\n--optimizer=adam\n")
    flags = ["--max_steps=20", "--conv_filters=2", "--dense_units=8", "--validation_size=500"]
    job = submit(["--array=0-1"], "launch/sweep.slurm", [str(lines), *flags])
    for task, optimizer in enumerate(("momentum", "adam")):
        cluster.wait_state(f"{job.number}_{task}", "COMPLETED")
        folder = tmp_path / "all runs" / f"sweep-{job.number}_{task}"
        result = json.loads((folder / "result.json").read_text())
        assert result["config"]["optimizer"] == optimizer


@pytest.mark.parametrize("name", ["train.slurm", "sweep.slurm", "local.sh"])
def test_scripts_have_a_head_that_helps(name):
    script = ROOT / "launch" / name
    done = subprocess.run(
        ["bash", str(script), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "MNIST_DIST_PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


def test_shellcheck():
    if shutil.which("shellcheck") is None and not os.environ.get("CI"):
        pytest.skip("shellcheck isn't installed")
    scripts = [str(p) for p in (ROOT / "launch").iterdir() if p.suffix in (".sh", ".slurm")]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
