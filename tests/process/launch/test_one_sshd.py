"""launch/ssh.sh over a real sshd on this machine's loopback: what needs no network of its own."""

import os
import re
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from tests.process.launch.ssh_lab import configure, missing
from tests.process.launch.stand_in_package import install
from tests.process.trainer import DEADLINE_S
from tests.unit.cluster.meeting import free_ports
from tests.waiting import wait_for

TRAINER = """
import os
print(os.environ["RANK"], "of", os.environ["WORLD_SIZE"], os.environ.get("MNIST_DIST_TEST_SETUP"))
"""
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
MaxStartups 8:100:8
"""
# By default 10:30:100: sshd drops 30 % of the connections as soon as ten aren't logged in yet.


@pytest.fixture
def server(tmp_path):
    reason = missing()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason, reason
    [port] = free_ports(1)
    configure(tmp_path, f"[127.0.0.1]:{port}", SSHD.format(port=port), f"Port {port}\n")
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", tmp_path / "sshd_config"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for("sshd", lambda: listens(port), DEADLINE_S)
    yield process
    process.kill()
    process.wait()


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def start(tmp_path):
    script = install(tmp_path, "ssh.sh", TRAINER)

    def start(hosts, **variables):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        ssh = f"ssh -F {tmp_path}/ssh_config"
        given = {"MNIST_DIST_SSH": ssh, "MNIST_DIST_PYTHON": sys.executable, **variables}
        return subprocess.Popen(
            ["bash", str(script), f"--hosts={hosts}", "--", "--run_dir=run"],
            env={**environment, **given}, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


def test_more_workers_on_a_host_than_sshd_takes_at_a_time(server, start):
    process = start("127.0.0.1:10")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    ranks = re.findall(r"^\[\d 127\.0\.0\.1\] (\d) of 10 None$", output, re.M)
    assert sorted(map(int, ranks)) == list(range(10))


def test_the_file_that_is_read_first(server, start, tmp_path):
    (tmp_path / "setup.sh").write_text("export MNIST_DIST_TEST_SETUP=read\n")
    output, _ = start("127.0.0.1", MNIST_DIST_SETUP="setup.sh").communicate(timeout=DEADLINE_S)
    assert output == "[0 127.0.0.1] 0 of 1 read\n"
    process = start("127.0.0.1", MNIST_DIST_SETUP="none")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert output.splitlines()[0] == (
        "ssh.sh: host 127.0.0.1: it can't read the file of MNIST_DIST_SETUP; give one that all "
        "hosts share"
    )


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 75, "ssh.sh was told to stop by SIGTERM while no worker was running"),
    ],
)
def test_a_signal_while_a_host_hangs_ends_it(server, start, tmp_path, number, code, said):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        process = start("127.0.0.1")
        reads = psutil.Process(process.pid).num_threads
        wait_for("the threads that read what ssh says", lambda: reads() == 3, DEADLINE_S)
        assert probes(tmp_path)
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert (process.returncode, output) == (code, f"mnist_dist: {said}\n")
    assert not probes(tmp_path)


def probes(folder):
    return list(folder.glob("run/**/.ssh-probe-*"))
