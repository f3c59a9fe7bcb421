"""The doctor, well and ill: real processes, and what is wrong with them provoked."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import warm
from tests.process.trainer import DEADLINE_S
from tests.unit.cluster.meeting import addresses
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def doctor(tmp_path):
    """Starts doctors; ends those that a failed test left."""
    started = []

    def start(*flags, tf_config="", package=ROOT, cwd=tmp_path):
        cwd.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(package)}
        environment.pop("TF_CONFIG", None)
        if tf_config:
            environment["TF_CONFIG"] = tf_config
        started.append(
            warm.Popen(
                [sys.executable, "-m", "mnist_dist.doctor", "--no_gpu", *flags],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=cwd,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def end(process, deadline_s=DEADLINE_S):
    output, errors = process.communicate(timeout=deadline_s)
    assert "Traceback" not in errors
    return process.returncode, output, errors


def pair(doctor, *flags, changes=({}, {})):
    """Two workers' ends."""
    cluster = {"worker": addresses(2)}
    started = []
    for rank in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": rank}}
        started.append(
            doctor(*flags, "--connect_timeout=30", tf_config=json.dumps(task), **changes[rank])
        )
    return [end(process) for process in started]


def rows_of(output):
    """The table of workers, a list of words a line."""
    lines = [line.split() for line in output.splitlines()]
    return lines[lines.index(next(line for line in lines if line[:1] == ["rank"])) + 1 :]


def bad(output):
    report = json.loads(output)
    assert not report["well"]
    return [finding["text"] for finding in report["findings"] if finding["bad"]]


def test_alone_it_says_what_would_run_and_leaves_nothing(doctor, tmp_path):
    folder = tmp_path / "made" / "up"
    code, output, errors = end(doctor(f"--checkpoint_dir={folder}", "--batch_size=10"))
    assert (code, errors) == (0, "")
    assert output.splitlines()[-1] == "Well: a run with these flags would work."
    row = rows_of(output)[0]
    assert row[:7] == ["0", socket.gethostname(), "1", "of", "1", "-", "/cpu:0"]
    assert row[-1] == "10"
    assert "embedded MNIST" in output
    assert f"Checkpoints: {folder}" in output
    assert not folder.parent.exists()


def test_two_workers_that_are_well(doctor, tmp_path):
    flags = (f"--checkpoint_dir={tmp_path}/ck", "--batch_size=7", "--json")
    (code, output, _), (other_code, other_output, _) = pair(doctor, *flags)
    assert (code, other_code, other_output) == (0, 0, "")  # worker 0 alone speaks
    report = json.loads(output)
    assert report["verdict"] == "Well: a run with these flags would work."
    assert report["well"] is True
    flags = report["workers"][1]["flags"]
    assert (flags["batch_size"], flags["conv_filters"], flags["no_gpu"]) == (7, [32, 64], True)
    assert flags == report["config"]
    assert [worker["rank"] for worker in report["workers"]] == [0, 1]
    assert [worker["devices"] for worker in report["workers"]] == [["/cpu:0"], ["/cpu:0"]]
    assert all(abs(worker["clock_skew_s"]) < 2 for worker in report["workers"])
    found = report["all_reduce"]
    assert found["replicas"] == 2
    assert (found["bytes"][0], found["bytes"][-1]) == (1024, 64 * 2**20)
    assert len(found["seconds"]) == len(found["bytes"])
    assert min(found["seconds"]) > 0
    assert found["alpha_s"] >= 0
    assert found["beta_bytes_per_s"] > 0
    assert not (tmp_path / "ck").exists()


def test_several_replicas_of_one_worker_are_measured(doctor, tmp_path):
    flags = ("--virtual_devices=3", "--batch_size=64", f"--checkpoint_dir={tmp_path}/ck")
    code, output, _ = end(doctor(*flags))
    assert code == 0
    assert "All-reduce over 3 replicas" in output
    assert "fit: " in output
    row = rows_of(output)[0]
    assert sorted(row[-1].split("+")) == ["21", "21", "22"]


def test_ctrl_c_ends_it_with_one_line(doctor, tmp_path):
    """While it waits for a worker that doesn't come."""
    task = {"cluster": {"worker": addresses(2)}, "task": {"type": "worker", "index": 0}}
    process = doctor(f"--checkpoint_dir={tmp_path}/ck", tf_config=json.dumps(task))
    listens = psutil.Process(process.pid).net_connections
    wait_for("its port", lambda: any(c.status == "LISTEN" for c in listens("tcp")), DEADLINE_S)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "", "mnist_dist: interrupted\n")


def test_another_version_of_the_package_is_named(doctor, tmp_path):
    shutil.copytree(ROOT / "mnist_dist", tmp_path / "old" / "mnist_dist")
    init = tmp_path / "old" / "mnist_dist" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "0.0.'))
    changes = ({}, {"package": tmp_path / "old"})
    flags = ("--json", f"--checkpoint_dir={tmp_path}/ck")
    (code, output, _), (other_code, _, _) = pair(doctor, *flags, changes=changes)
    assert (code, other_code) == (1, 1)
    [text] = bad(output)
    assert text.startswith(f"worker 1 (host {socket.gethostname()}): mnist_dist 0.0.")
    assert "install the same on each host" in text
    assert json.loads(output)["all_reduce"] is None


def test_a_checkpoint_folder_that_isnt_shared_is_named(doctor, tmp_path):
    # The same name, but another folder: as a local disk of each node.
    changes = ({"cwd": tmp_path / "n1"}, {"cwd": tmp_path / "n2"})
    (code, output, _), (other_code, _, _) = pair(
        doctor, "--json", "--checkpoint_dir=ck", changes=changes
    )
    assert (code, other_code) == (1, 1)
    [text] = bad(output)
    assert text.startswith("worker 1 (host ")
    assert "ck isn't worker 0's folder" in text
    assert "shared file system" in text


def test_data_and_flags_that_differ_are_named(doctor, tmp_path):
    (tmp_path / "n2" / "images").mkdir(parents=True)
    (tmp_path / "n2" / "images" / "train-images-idx3-ubyte").write_bytes(b"torn")
    changes = ({"cwd": tmp_path / "n1"}, {"cwd": tmp_path / "n2"})
    flags = ("--data_dir=images", f"--checkpoint_dir={tmp_path}/ck", "--lr=0.5")
    cluster = {"worker": addresses(2)}
    started = []
    for rank in range(2):
        task = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
        more = ("--lr=0.25",) if rank else ()
        started.append(doctor(*flags, *more, tf_config=task, **changes[rank]))
    (code, output, _), (other_code, _, _) = [end(process) for process in started]
    assert (code, other_code) == (1, 1)
    wrong = [line for line in output.splitlines() if line.startswith("NOT WELL: worker 1")]
    assert len(wrong) == 2
    assert "train-images-idx3-ubyte" in wrong[0] or "train-labels-idx1-ubyte" in wrong[0]
    assert "--lr=0.25, worker 0 has 0.5; start all with the same flags" in wrong[1]
    assert output.splitlines()[-1] == "A run with these flags would not work."


def test_a_blocked_port_is_named(doctor, tmp_path):
    workers = addresses(2)
    ends = []
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("", int(workers[1].rpartition(":")[2])))
        taken.listen()
        started = []
        for rank in range(2):
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
            flags = (f"--checkpoint_dir={tmp_path}/ck", "--connect_timeout=4")
            started.append(doctor(*flags, tf_config=json.dumps(task)))
        ends = [end(process) for process in started]
    assert [code for code, _, _ in ends] == [1, 2]
    assert f"worker 1 ({workers[1]}) did not come" in ends[0][2]
    assert "is in use" in ends[1][2]


def test_a_device_that_isnt_there_is_named(doctor, tmp_path):
    flags = ("--virtual_devices=9", "--batch_size=8", f"--checkpoint_dir={tmp_path}/ck")
    code, output, _ = end(doctor(*flags))
    assert code == 1
    assert "--batch_size=8 over 9 replicas" in output


@pytest.mark.parametrize("flag", ["--lr=fast", "--no_such_flag=1", "--batch_size=0"])
def test_a_wrong_flag_is_one_line(doctor, flag):
    code, output, errors = end(doctor(flag))
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1


def test_help(doctor):
    code, output, _ = end(doctor("--help"))
    assert code == 0
    assert "srun python -m mnist_dist.doctor" in output
    assert "\n  --json " in output
    assert "--batch_size" not in output  # the trainer's


# The doctor's main, with a stand-in for what is imported with TensorFlow.
WITHOUT = """
import sys, types
from mnist_dist.doctor.__main__ import main
class Stop(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)  # asked by the import itself
        print("TensorFlow is wanted", sys.modules.keys() & {"tensorflow", "keras"}, flush=True)
        raise SystemExit(9)
sys.modules["mnist_dist.doctor.burn_in"] = types.ModuleType("burn_in")
sys.modules["mnist_dist.doctor.connectivity"] = Stop("network")
main(["--no_gpu"])
"""


def test_its_first_lines_need_no_tensorflow():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == [
        *("Data", "Checkpoints", "Versions of worker 0"),
    ]
    assert lines[3:] == ["TensorFlow is wanted set()"]
    assert done.returncode == 9
