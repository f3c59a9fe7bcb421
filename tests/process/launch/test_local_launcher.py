"""launch/local.sh: real processes, a stand-in for the trainer where its work doesn't matter."""

import json
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from tests import held
from tests.process.launch.stand_in_package import ROOT, install
from tests.process.trainer import DEADLINE_S
from tests.waiting import wait_for

SCRIPT = ROOT / "launch" / "local.sh"
STAND_IN = """
import json, os, pathlib, signal, subprocess, sys, time
do = os.environ["MNIST_DIST_TEST_DO"].split()
config = json.loads(os.environ["TF_CONFIG"])
rank = config["task"]["index"]
def heard(number, frame):
    print("heard", number, flush=True)
    if "deaf" not in do: sys.exit(75)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, heard)
child = subprocess.Popen(["sleep", "600"])
told = {"rank": rank, "cores": sorted(os.sched_getaffinity(0)), "child": child.pid,
        "workers": config["cluster"]["worker"], "argv": sys.argv[1:], "pid": os.getpid()}
print(json.dumps(told), flush=True)
open(f"{os.environ['UP']}/up-{rank}", "w").close()
while len(list(pathlib.Path(os.environ["UP"]).glob("up-*"))) < len(told["workers"]):
    time.sleep(0.01)  # until all have their handlers
if f"fail{rank}" in do:
    print("it broke", file=sys.stderr)
    sys.exit(3)
if f"accuse{rank}" in do:
    print("worker 0 (host pc), step 7: worker 1 (host pc) fell silent 8 s ago", file=sys.stderr)
    sys.exit(1)
if f"die{rank}" in do:
    os.kill(os.getpid(), signal.SIGKILL)
if "stay" in do:
    while True: time.sleep(0.05)
child.kill()
"""


@pytest.fixture
def launch(tmp_path):
    """Starts local.sh with a package whose trainer is the stand-in; ends what is left."""
    script = install(tmp_path, "local.sh", STAND_IN)
    started = []

    def start(*arguments, do=""):
        variables = {"UP": str(tmp_path), "MNIST_DIST_TEST_DO": do}
        process = subprocess.Popen(
            ["bash", str(script), *arguments],
            env={**os.environ, "MNIST_DIST_PYTHON": sys.executable, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def told(text):
    rows = [json.loads(found) for found in re.findall(r"^\[\d+\] (\{.*\})$", text, re.M)]
    return sorted(rows, key=lambda row: row["rank"])


def read_told(process, number):
    """Reads until all workers have said who they are."""
    text = ""
    while len(told(text)) < number:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        text += line
    return told(text)


def assert_gone(rows):
    pids = [pid for row in rows for pid in (row["pid"], row["child"])]
    wait_for("the end of all processes", lambda: not any(map(runs, pids)), DEADLINE_S)


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_get_ranks_ports_cores_and_arguments(launch):
    hostile = ["--run_dir=a b", "--class_names=$HOME `id` *\n'\" \\"]
    process = launch("-n", "3", "--", *hostile)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    rows = told(output)
    assert [row["rank"] for row in rows] == [0, 1, 2]
    assert all(row["argv"] == hostile for row in rows)
    assert all(row["workers"] == rows[0]["workers"] for row in rows)
    assert len(set(rows[0]["workers"])) == 3
    mine = os.sched_getaffinity(0)
    given = {core for row in rows for core in row["cores"]}
    assert given <= mine
    assert len(given) == (len(mine) // 3 * 3 or len(mine))
    assert {len(row["cores"]) for row in rows} == {max(1, len(mine) // 3)}


@pytest.mark.parametrize(("how", "code"), [("fail1", 3), ("die1", 137)])
def test_one_failure_ends_all(launch, how, code):
    process = launch("-n", "3", do=f"stay {how}")
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, errors
    assert output.count("heard 15") == 2
    ended = {"fail1": "ended with exit code 3", "die1": "was ended by SIGKILL"}[how]
    assert f"local.sh: worker 1 {ended}; the others are told to stop\n" in errors
    if how == "fail1":
        assert "[1] it broke\n" in errors
    assert_gone(told(output))


def test_workers_that_dont_listen_are_killed(launch):
    process = launch("-n", "2", "--grace=1", do="stay deaf fail0")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    assert_gone(told(output))


def test_a_silent_worker_is_named_and_killed(launch):
    process = launch("-n", "2", "--grace=600", do="stay deaf accuse0")
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "local.sh: worker 1 (host pc) fell silent; the others are told to stop\n" in errors
    assert_gone(told(output))


def test_a_stopped_worker_is_woken_to_end(launch):
    process = launch("-n", "2", "--grace=600", do="stay")
    rows = read_told(process, 2)
    os.kill(rows[0]["pid"], signal.SIGSTOP)
    os.kill(rows[1]["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 137
    assert "[0] heard 15" in output
    assert_gone(rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_reaches_all(launch, number):
    process = launch("-n", "2", do="stay")
    rows = read_told(process, 2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 75
    assert output.count(f"heard {int(number)}") == 2
    assert_gone(rows)


def test_a_third_interrupt_ends_at_once(launch):
    """The second one is the workers' own: they leave, but not in the middle of a save."""
    process = launch("-n", "2", do="stay deaf")
    rows = read_told(process, 2)
    heard = ""
    for presses in (1, 2):
        process.send_signal(signal.SIGINT)
        while heard.count("heard") < 2 * presses:
            line = process.stdout.readline()
            assert line, heard
            heard += line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 137
    assert_gone(rows)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-n", "0"], 2, "-n 0: give 1 or more workers"),
        (["-n2", "--grace=nan"], 2, "--grace=nan: give seconds, 0 or more"),
        (["-n2", "--grace=-1"], 2, "--grace=-1.0: give seconds, 0 or more"),
        (["-n99999"], 1, "local.sh: the workers can't be started: no 99999 free ports from 15000 "
         "to 32000"),
        (["-n2", "--", "--nonsense=3"], 2, "--nonsense: no such flag; --help lists the flags"),
    ],
)  # fmt: skip
def test_wrong_use(launch, arguments, code, said):
    process = launch(*arguments)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (code, f"mnist_dist: {said}\n")


def test_help(launch):
    process = launch("--help")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "--grace" in output


def test_a_training_of_two_workers(tmp_path, small):
    """The real trainer: its loss curve is that of one process."""
    flags = [*small, "--max_steps=30", "--log_interval=1", "--batch_size=50"]

    def losses(number):
        folder = tmp_path / str(number)
        done = subprocess.run(
            ["bash", str(SCRIPT), "-n", str(number), "--", *flags, f"--output_dir={folder}/out",
             f"--checkpoint_dir={folder}/ck"],
            env={**os.environ, "MNIST_DIST_PYTHON": sys.executable},
            capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        rows = [json.loads(row) for row in (folder / "out/metrics.jsonl").read_text().splitlines()]
        return {row["step"]: row["loss"] for row in rows if row["split"] == "train"}

    one, two = losses(1), losses(2)
    assert len(one) == len(two) == 30
    assert all(abs(one[step] - two[step]) < 1e-5 * (1 + one[step]) for step in one)


KILLED_BEFORE_THE_MEETING = """#!/bin/bash
if [[ $TF_CONFIG == *'"index": 1'* ]]; then
  [[ $TF_CONFIG =~ 127.0.0.1:([0-9]+) ]]
  until (exec 3<>"/dev/tcp/127.0.0.1/${BASH_REMATCH[1]}") 2>/dev/null; do sleep 0.1; done
  kill -KILL $$
fi
exec "$PYTHON" "$@"
"""


def test_a_worker_killed_in_start_up_is_named_and_the_other_leaves_at_once(tmp_path):
    """The real trainer, whose worker 0 waits for worker 1."""
    interpreter = tmp_path / "python"
    interpreter.write_text(KILLED_BEFORE_THE_MEETING)
    interpreter.chmod(0o755)
    starter = "import sys; from mnist_dist import local; sys.executable = sys.argv[1]; "
    starter += "sys.exit(local.main(['-n2', '--grace=600', '--', '--no_gpu']))"
    done = subprocess.run(
        [sys.executable, "-c", starter, str(interpreter)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 137
    first, second = done.stderr.splitlines()
    assert first == "local.sh: worker 1 was ended by SIGKILL; the others are told to stop"
    assert re.fullmatch(
        r"\[0\] mnist_dist: worker 0 \(host .*\): told to stop by SIGTERM while waiting for "
        r"worker 1 \(127\.0\.0\.1:\d+\)",
        second,
    )


def test_a_killed_worker_is_started_again_and_the_bits_are_the_same(tmp_path, small):
    """The real trainer, one of whose workers is killed at step 20, after a checkpoint."""
    flags = [*small, "--max_steps=40", "--log_interval=1", "--batch_size=50", "--shards=2"]
    flags += ["--checkpoint_every_steps=5", "--steps_per_loop=5"]

    def start(folder, python):
        return subprocess.Popen(
            ["bash", str(SCRIPT), "-n2", "--restarts=2", "--", *flags, f"--run_dir={folder}"],
            env={**os.environ, "MNIST_DIST_PYTHON": str(python)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    undisturbed = start(tmp_path / "undisturbed", sys.executable)
    _, errors = undisturbed.communicate(timeout=DEADLINE_S)
    assert undisturbed.returncode == 0, errors
    disturbed = start(tmp_path / "disturbed", held.interpreter(tmp_path, "20"))
    checkpoints = tmp_path / "disturbed" / "checkpoints"
    _, worker = held.held(tmp_path, 20, tasks=2)
    wait_for("a checkpoint", lambda: list(checkpoints.glob("ckpt-*")), DEADLINE_S)
    worker.kill()
    _, errors = disturbed.communicate(timeout=DEADLINE_S)
    assert disturbed.returncode == 0, errors
    assert re.search(
        r"local\.sh: worker 1 \(localhost\) killed: starts again from step [1-9]\d*\n", errors
    )

    def weights(run):
        return json.loads((tmp_path / run / "result.json").read_text())["weights_sha256"]

    assert weights("disturbed") == weights("undisturbed")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--restarts=-1"], "--restarts=-1: give 0 or more"),
        (["--restarts=1", "-m", "doctor"], "--restarts=1 with -m doctor: only a training "),
        (["--restarts=1", "--", "--resume=never"], "--restarts=1 with --resume=never: each "),
        (["--restarts=1", "--", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_restarts(arguments, reason):
    done = subprocess.run(
        ["bash", str(SCRIPT), "-n2", *arguments],
        env={**os.environ, "MNIST_DIST_PYTHON": sys.executable},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
