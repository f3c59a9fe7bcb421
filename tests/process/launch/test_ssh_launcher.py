"""launch/ssh.sh over a real sshd on three hosts; a stand-in for the trainer where that will do."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import held, warm
from tests.process.launch.ssh_lab import SshLab, command_line, missing
from tests.process.launch.stand_in_package import ROOT, install
from tests.process.trainer import DEADLINE_S, environment
from tests.waiting import wait_for

STAND_IN = """
import json, os, pathlib, signal, sys, time
do = os.environ.get("MNIST_DIST_TEST_DO", "").split()
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
def heard(number, frame):
    print("heard", number, flush=True)
    if "deaf" not in do: sys.exit(75)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, heard)
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "MNIST_DIST_TOKEN")
said = {name: os.environ[name] for name in names}
said |= {"host": os.uname().nodename, "pid": os.getpid(), "argv": sys.argv[1:], "cwd": os.getcwd()}
print(json.dumps(said), flush=True)
up = pathlib.Path(os.environ["MNIST_DIST_TEST_UP"])
(up / f"up-{rank}").touch()
while len(list(up.glob("up-*"))) < size:
    time.sleep(0.01)
if f"fail{rank}" in do:
    print("it broke", file=sys.stderr)
    sys.exit(3)
if f"die{rank}" in do:
    os.kill(os.getpid(), signal.SIGKILL)
while "stay" in do:
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def lab():
    reason = missing()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason, reason
    with tempfile.TemporaryDirectory(prefix="mnist_dist-ssh-") as folder:
        made = SshLab(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.network.stop()


@pytest.fixture
def launch(lab, tmp_path):
    """Starts ssh.sh on "ctl"; with a package whose trainer is the stand-in, unless `real`."""
    script = install(tmp_path, "ssh.sh", STAND_IN)
    started = []

    def start(*arguments, do="", real=False, config="ssh_config", **variables):
        words = {
            "MNIST_DIST_SSH": f"ssh -F {lab.folder}/{config}",
            "MNIST_DIST_PYTHON": sys.executable,
            "MNIST_DIST_TEST_UP": str(tmp_path),
            "MNIST_DIST_TEST_DO": do,
            **variables,
        }
        path = ROOT / "launch" / "ssh.sh" if real else script
        command = ["env", "-u", "PYTHONPATH", *(f"{k}={v}" for k, v in words.items())]
        folder = ROOT if real else tmp_path  # the package there is imported
        process = lab.network.popen(*command, "bash", str(path), *arguments, cwd=folder)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    wait_for_no_workers(lab)


def wait_for_no_workers(lab):
    def left():
        return [pid for host in lab.hosts for pid in lab.workers(host)]

    wait_for("the workers' ends", lambda: not left(), DEADLINE_S)


def ended(process, seconds=DEADLINE_S):
    """Exit code and output, errors too."""
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def rows(text):
    found = re.findall(r"^\[(\d+) (\S+)\] (\{.*\})$", text, re.M)
    return [(int(rank), host, json.loads(said)) for rank, host, said in sorted(found)]


def read_rows(process, number):
    """Reads until all workers have said who they are."""
    text = ""
    while len(rows(text)) < number:
        line = process.stdout.readline()
        assert line, text
        text += line
    return rows(text)


def test_a_worker_on_each_host(lab, launch, tmp_path):
    hostile = ["--run_dir=a b", "--class_names=$HOME `id` * '\" \\"]
    code, output = ended(launch("--hosts=n[1-2],n3:2", "--", *hostile))
    assert code == 0, output
    found = rows(output)
    assert [(rank, host) for rank, host, _ in found] == [(0, "n1"), (1, "n2"), (2, "n3"), (3, "n3")]
    for rank, host, said in found:
        assert (said["host"], said["RANK"], said["WORLD_SIZE"]) == (host, str(rank), "4")
        assert said["LOCAL_RANK"] == ("1" if rank == 3 else "0")
        assert said["MASTER_ADDR"].split(",")[0] == lab.address("n1")
        assert said["argv"] == hostile
        assert said["cwd"] == str(tmp_path)
    assert len({said["MNIST_DIST_TOKEN"] for *_, said in found}) == 1
    assert not (tmp_path / "a b").exists()


def test_the_hosts_of_a_scheduler_and_of_a_file(launch, tmp_path):
    file = tmp_path / "nodes"
    file.write_text("n2\nn2\nn1\nn1\n")
    code, output = ended(launch("--", "--run_dir=run", PBS_NODEFILE=file))
    assert code == 0, output
    assert "ssh.sh: 2 host(s) of this PBS job\n" in output
    assert [host for _, host, _ in rows(output)] == ["n2", "n1"]
    file.write_text("# all\nn3 slots=1 max_slots=4 # the third\n\nn1\n")
    code, output = ended(launch(f"--hostfile={file}"))
    assert code == 0, output
    assert [host for _, host, _ in rows(output)] == ["n3", "n1"]


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("fail1", 3, "ended with exit code 3"), ("die1", 137, "was ended by SIGKILL")],
)
def test_one_failure_ends_all(launch, how, code, said):
    found, output = ended(launch("--hosts=n1,n2,n3", "--", "--run_dir=run", do=f"stay {how}"))
    assert found == code, output
    assert output.count("heard 15") == 2
    assert f"ssh.sh: worker 1 {said}; the others are told to stop\n" in output
    if how == "fail1":
        assert "[1 n2] it broke\n" in output


def test_a_signal_reaches_all(launch):
    process = launch("--hosts=n1,n2", "--", "--run_dir=run", do="stay")
    read_rows(process, 2)
    process.send_signal(signal.SIGINT)
    code, output = ended(process)
    assert code == 75
    assert output.count("heard 2\n") == 2


def test_a_third_interrupt_ends_at_once(lab, launch):
    process = launch("--hosts=n1,n2", "--", "--run_dir=run", do="stay deaf")
    read_rows(process, 2)
    text = ""
    for presses in (1, 2):
        process.send_signal(signal.SIGINT)
        while text.count("heard") < 2 * presses:
            line = process.stdout.readline()
            assert line, text
            text += line
    process.send_signal(signal.SIGINT)
    code, _ = ended(process)
    assert code == 137
    wait_for_no_workers(lab)


@pytest.mark.parametrize("deaf", ["", "deaf"])
def test_no_worker_outlives_a_killed_launcher(lab, launch, deaf):
    flags = ("--run_dir=run", "--peer_timeout=4")
    process = launch("--hosts=n1,n2", "--", *flags, do=f"stay {deaf}")
    read_rows(process, 2)
    process.kill()
    wait_for_no_workers(lab)


def test_no_worker_outlives_the_launchers_host(lab, launch):
    """Its network is gone, so nobody tells the agents: they notice the silence."""
    flags = ("--run_dir=run", "--peer_timeout=2")
    process = launch("--hosts=n1,n2", "--", *flags, do="stay")
    read_rows(process, 2)
    for host in ("n1", "n2"):
        lab.network.set_link(host, "down")
    wait_for_no_workers(lab)
    for host in ("n1", "n2"):
        lab.network.set_link(host, "up")


WRAPPER = """#!/bin/sh
case $(hostname) in
n1) exec /no/such/python "$@" ;;
n2) exec {python} -c '
import sys
from mnist_dist.run import versions
versions.__version__ = "0.0.9"
from mnist_dist.launch import agent
sys.exit(agent.main(sys.argv[-1:]))' "$@" ;;
esac
exec {python} "$@"
"""


def test_each_host_that_cant_be_used_is_named(lab, launch, tmp_path):
    """n1-ib is n1, by a name whose key isn't known; the sshd of n3 hangs."""
    python = tmp_path / "python"
    python.write_text(WRAPPER.format(python=sys.executable))
    python.chmod(0o755)
    server = lab.server("n3")
    os.kill(server, signal.SIGSTOP)
    try:
        hosts = "--hosts=n1,n2,n3,n9,ctl,n1-ib"
        code, output = ended(launch(hosts, "--", "--run_dir=run", MNIST_DIST_PYTHON=python))
    finally:
        os.kill(server, signal.SIGCONT)
    assert code == 2
    said = dict(re.findall(r"^ssh\.sh: host (\S+): (.*)$", output, re.M))
    assert re.match(r"'\S+python' doesn't run there \(.*/no/such/python", said.pop("n1"))
    assert said.pop("n2").startswith("mnist_dist 0.0.9, here 0.1.0; let all hosts use one")
    assert said == {
        "n3": "it doesn't answer (timed out)",
        "n9": "its name can't be found; check it",
        "ctl": "no ssh server answers there (connection refused)",
        "n1-ib": "its host key isn't known; run `ssh` to it once and confirm the key, or add it "
        "to known_hosts",
    }
    assert output.endswith(
        "mnist_dist: 6 of 6 host(s) can't be used, see above; nothing was started\n"
    )


def test_a_refused_key_another_python_and_a_folder_that_isnt_shared(lab, launch, tmp_path):
    other = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(other, check=True)
    config = (lab.folder / "ssh_config").read_text()
    other = f"Match host n1\nIdentityFile {tmp_path}/key\n"
    other += f"Match host n2,n3\nIdentityFile {lab.folder}/key\n"
    (lab.folder / "other_config").write_text(config.replace("IdentityFile", "#") + other)
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\n[ $(hostname) = n2 ] && exec {sys.executable} -c '\nimport sys\n"
        'sys.version = "3.14.1 (main)"\nfrom mnist_dist.launch import agent\n'
        f'sys.exit(agent.main(sys.argv[-1:]))\' "$@"\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    shared = tmp_path / "shared"
    shared.mkdir()
    mount = ["nsenter", f"--target={lab.server('n3')}", "--mount"]
    subprocess.run([*mount, "mount", "-t", "tmpfs", "none", str(shared)], check=True)
    try:
        code, output = ended(
            launch(
                "--hosts=n1,n2,n3", "--", f"--run_dir={shared}",
                config="other_config", MNIST_DIST_PYTHON=python,
            )
        )  # fmt: skip
    finally:
        subprocess.run([*mount, "umount", str(shared)], check=True)
    assert code == 2
    said = dict(re.findall(r"^ssh\.sh: host (\S+): (.*)$", output, re.M))
    assert said.pop("n2").startswith("Python 3.14.1 (")
    assert said == {
        "n1": "ssh refuses the key; add yours to authorized_keys there",
        "n3": f"{shared} isn't the folder of that name here; give a --run_dir that all share",
    }


TRAINING = (
    *("--max_steps=80", "--epochs=2", "--shards=2", "--log_interval=1", "--batch_size=50"),
    *("--steps_per_loop=5", "--checkpoint_every_steps=10", "--peer_timeout=6"),
)


HOSTS = ("--hosts=n1,n2,n3", "--restarts=2", "--grace=60", "--")


def weights(folder):
    return json.loads((folder / "result.json").read_text())["weights_sha256"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, small):
    """The weights of one process."""
    run = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "mnist_dist.train", *small, *TRAINING, f"--run_dir={run}"]
    warm.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    return weights(run)


def test_it_goes_on_without_a_dead_host_with_the_same_bits(lab, launch, tmp_path, small, reference):
    """Two of three hosts train; the third is a spare, which takes a dead one's place."""
    run = tmp_path / "run"
    python = held.interpreter(tmp_path, "20")
    flags = (*small, *TRAINING, f"--run_dir={run}")
    process = launch(*HOSTS, *flags, real=True, MNIST_DIST_PYTHON=python)
    held.held(tmp_path, 20, tasks=2)
    wait_for("a checkpoint", lambda: saved(run), DEADLINE_S)
    lab.kill_host("n2")
    code, output = ended(process)
    lab.revive_host("n2")
    assert code == 0, output
    assert "ssh.sh: 2 workers, over which --shards divides; not used: n3\n" in output
    assert re.search(r"ssh\.sh: host n2: it doesn't answer .*; it is left out\n", output)
    assert re.search(r"ssh\.sh: worker 1 \(n2\) (lost|silent): starts again from step", output)
    assert weights(run) == reference


def test_a_host_whose_worker_is_killed_twice_is_left_out(lab, launch, tmp_path, small, reference):
    run = tmp_path / "run"
    python = held.interpreter(tmp_path, "20,40,60")
    flags = (*small, *TRAINING, f"--run_dir={run}")
    process = launch(*HOSTS, *flags, real=True, MNIST_DIST_PYTHON=python)
    step, unused = 0, []
    for held_at in (20, 40):
        _, worker = held.held(tmp_path, held_at, tasks=2)
        wait_for("a checkpoint of this try", lambda before=step: saved(run) > before, DEADLINE_S)
        worker.kill()
        line = read_until(process, "ssh.sh: worker 1 (n2) killed: starts again from step ")
        number, _, rest = line.partition(";")
        step = int(number)
        unused.append(rest)
    assert unused == [" not used: n3\n", " not used: n2 (workers were lost there)\n"]
    pids = [worker.pid for worker in held.held(tmp_path, 60, tasks=2)]
    assert [trainers(lab, host) for host in lab.hosts] == [[pids[0]], [], [pids[1]]]
    held.release(tmp_path, 60)
    code, output = ended(process)
    assert code == 0, output
    assert weights(run) == reference


def read_until(process, beginning):
    """Reads a launcher's lines up to one that begins so; returns the rest of that line."""
    text = ""
    for line in process.stdout:
        if line.startswith(beginning):
            return line.removeprefix(beginning)
        text += line
    raise AssertionError(text)


def saved(run):
    """The newest checkpoint's step; 0 if there is none."""
    return max((int(path.name[5:]) for path in run.glob("checkpoints/ckpt-*")), default=0)


def trainers(lab, host):
    return [pid for pid in lab.workers(host) if b"mnist_dist.train" in command_line(pid)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no hosts: give --hosts=n1,n2 or --hostfile=FILE"),
        (["--hosts=n1", "--hostfile=x"], "exclude each other"),
        (["--hosts=-oProxyCommand=x"], "'-oProxyCommand=x' is no host"),
        (["--hostfile=/no/such"], "--hostfile=/no/such: No such file or directory"),
        (["--hosts=n1", "--restarts=1", "--", "--resume=never"], "with --resume=never"),
        (["--hosts=n1", "--", "--nonsense"], "--nonsense: no such flag"),
    ],
)
def test_wrong_use(arguments, said):
    command = [sys.executable, "-m", "mnist_dist.ssh", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
