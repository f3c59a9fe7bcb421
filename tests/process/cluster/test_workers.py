"""Several workers as real processes: resumed on other topologies, and what they refuse together."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from mnist_dist.run import digest
from tests import warm
from tests.curves import ROOT, SMALL, apart, images_apart, train
from tests.devices.test_curves import EXACT
from tests.process.trainer import DEADLINE_S
from tests.unit.cluster.meeting import addresses
from tests.waiting import wait_for

FLOAT64 = ("--precision=float64", "--steps_per_loop=20", "--epochs=5")


@pytest.fixture(scope="module")
def data(subset):
    """The flag that names the data: epochs of 40 steps."""
    return f"--data_dir={subset}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory, data):
    """In float64: 200 steps of two workers, and 137 of them, saved in the fourth epoch of five."""
    folder = tmp_path_factory.mktemp("saved")
    whole = train(folder / "whole", *FLOAT64, data, workers=2)
    train(folder / "part", *FLOAT64, data, "--max_steps=137", workers=2)
    return whole, folder / "part"


@pytest.mark.parametrize(("devices", "workers"), [(1, 1), (3, 1), (1, 2)])
def test_saved_by_two_workers_and_resumed_on(saved, data, tmp_path, devices, workers):
    whole, part = saved
    shutil.copytree(part, tmp_path / "run")
    more = (*FLOAT64, data, f"--virtual_devices={devices}")
    run = train(tmp_path / "run", *more, workers=workers)
    assert run.result["num_replicas"] == devices * workers
    assert apart(run, whole) < EXACT
    assert images_apart(run, whole) == 0
    if workers == 2:  # the same bit for bit
        for name in ("ck/ckpt-200/weights.data-00000-of-00001", "out/metrics.jsonl"):
            assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


@pytest.fixture
def workers(tmp_path, data):
    """Starts trainers as TF_CONFIG says, each with flags and a folder of its own."""
    started = []

    def start(*flags_by_rank, cluster=None, command=("-m", "mnist_dist.train")):
        cluster = cluster or addresses(len(flags_by_rank))
        for rank, flags in enumerate(flags_by_rank):
            task = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": rank}}
            (tmp_path / str(rank)).mkdir(exist_ok=True)
            common = [data, f"--checkpoint_dir={tmp_path}/ck", "--connect_timeout=60"]
            started.append(
                warm.Popen(
                    [sys.executable, *command, *SMALL, *common, *flags],
                    env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(task)},
                    cwd=tmp_path / str(rank),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        return started

    yield start
    for process in started:
        process.kill()
        process.wait()


def ends(processes):
    """Exit code, output and errors of each; no traceback in any."""
    found = []
    for process in processes:
        output, errors = process.communicate(timeout=DEADLINE_S)
        assert "Traceback" not in errors, errors
        found.append((process.returncode, output, errors))
    return found


def test_other_flags_on_one_worker_are_refused_on_all(workers):
    for code, output, errors in ends(workers(("--lr=0.1",), ("--lr=0.2",))):
        assert (code, output) == (2, "")
        assert "worker 1 (host " in errors
        assert "--lr=0.2, worker 0" in errors
        assert len(errors.splitlines()) == 1


def test_other_data_on_one_worker_are_refused_on_all(workers, tmp_path):
    """The same flags, but another folder of that name, as on a local disk of each node."""
    source = ROOT / "mnist_dist" / "data" / "mnist"
    for rank, split in enumerate(("train", "t10k")):  # worker 1 has the test set in its place
        folder = tmp_path / str(rank) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            shutil.copyfile(source / f"{split}-{name}.gz", folder / f"train-{name}.gz")
            shutil.copyfile(source / f"t10k-{name}.gz", folder / f"t10k-{name}.gz")
    found = ends(workers(*[("--data_dir=data",)] * 2))
    for code, _, errors in found:
        assert code == 1
        assert "the data of worker 1" in errors


def test_a_checkpoint_that_one_worker_does_not_see_stops_all(saved, workers, tmp_path):
    shutil.copytree(saved[1] / "ck", tmp_path / "0" / "ck")
    for code, _, errors in ends(workers(*[(*FLOAT64, "--checkpoint_dir=ck")] * 2)):
        assert code == 1
        assert "the checkpoint to resume from of worker 1" in errors
        assert "is None" in errors
        assert "worker 0" in errors


@pytest.mark.parametrize(("number", "count"), [(signal.SIGKILL, 3), (signal.SIGSTOP, 2)])
def test_a_lost_worker_is_named_with_host_and_step(workers, tmp_path, number, count):
    flags = ("--max_steps=0", "--epochs=1000", "--steps_per_loop=5", "--peer_timeout=4")
    flags += (f"--output_dir={tmp_path}/out", "--checkpoint_every_steps=50")
    processes = workers(*[flags] * count)
    wait_until_saved(50, tmp_path, processes)
    os.kill(processes[1].pid, number)
    survivors = [processes[0], *processes[2:]]
    for code, _, errors in ends(survivors):
        assert code == 1
        assert "worker 1 (host " in errors
        assert "step " in errors
    processes[1].kill()


def test_a_silence_below_the_peer_timeout_is_borne(workers, tmp_path):
    """Of 15 s: TensorFlow's own heartbeat would give up after 10."""
    flags = ("--max_steps=0", "--epochs=1000", "--steps_per_loop=5", "--peer_timeout=60")
    flags += ("--checkpoint_every_steps=40", "--keep_checkpoints=99")
    processes = workers(flags, flags)
    wait_until_saved(40, tmp_path, processes)
    os.kill(processes[1].pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        processes[0].wait(timeout=15)
    os.kill(processes[1].pid, signal.SIGCONT)
    wait_until_saved(newest(tmp_path / "ck") + 120, tmp_path, processes)
    processes[0].send_signal(signal.SIGTERM)
    assert [(code, errors) for code, _, errors in ends(processes)] == [(75, ""), (75, "")]


def wait_until_saved(step, folder, processes):
    saved = (folder / "ck" / f"ckpt-{step}").exists
    wait_for(
        f"ckpt-{step}", lambda: saved() or any(p.poll() is not None for p in processes), DEADLINE_S
    )
    assert saved(), [p.communicate() for p in processes if p.poll() is not None]


def newest(folder):
    return max(int(path.name.removeprefix("ckpt-")) for path in folder.glob("ckpt-*"))


# Worker 1 sends itself a signal at a stage of its run, which the environment names.
AT_A_STAGE = """
import json, os, signal, sys
from mnist_dist import train
from mnist_dist.training.stop import Stop

with train.without_startup_messages():
    from mnist_dist.training.replica import Replica

rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
own = Replica.step

def stop_at(stage):
    if (stage, rank) == (os.environ["STAGE"], 1):
        os.kill(os.getpid(), signal.SIGUSR2)

class Stopped(Stop):
    def during(self, stage):
        stop_at(stage)
        return super().during(stage)

def step(self, *given):  # while TensorFlow traces the step
    stop_at("compilation")
    return own(self, *given)

train.Stop, Replica.step = Stopped, step
sys.exit(train.main(sys.argv[1:]))
"""


AFTER = {"compilation": 10, "a save": 25}  # steps: the end of the next block, which is told


@pytest.mark.parametrize("stage", ["compilation", "training", "an evaluation", "a save"])
def test_told_to_stop_all_save_at_one_step_and_leave_with_75(workers, tmp_path, stage, monkeypatch):
    """One is told, all stop; in an evaluation without another block.

    Import and meeting: tests/unit/test_exits.py, tests/unit/cluster/test_rendezvous.py.
    """
    flags = ("--max_steps=0", "--epochs=1000", "--steps_per_loop=5", "--keep_checkpoints=99")
    flags += (f"--output_dir={tmp_path}/out", "--checkpoint_every_steps=20")
    if stage == "training":
        processes = workers(flags, flags)
        wait_until_saved(20, tmp_path, processes)
        processes[1].send_signal(signal.SIGTERM)
    else:
        monkeypatch.setenv("STAGE", stage)
        if stage == "an evaluation":
            flags += ("--batch_size=125",)  # an epoch of 20 steps
        processes = workers(flags, flags, command=("-c", AT_A_STAGE))
    found = ends(processes)
    assert [code for code, _, _ in found] == [75, 75]
    assert [errors for _, _, errors in found] == ["", ""]
    assert found[1][1] == ""  # the chief alone speaks
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["stopped"] == "preempted"
    assert newest(tmp_path / "ck") == result["steps"]
    assert f"saved at global step {result['steps']}" in found[0][1]
    if stage == "an evaluation":
        assert result["epochs"] == 1.0
    if stage in AFTER:
        assert result["steps"] == AFTER[stage]


def test_workers_that_restore_other_weights_stop(workers, data, tmp_path):
    """Each has a folder of its own, as without a shared one, and one step's checkpoint in it."""
    rates = (0.01, 0.02)
    runs = [train(tmp_path / f"run-{lr}", data, f"--lr={lr}", "--max_steps=5") for lr in rates]
    records = []
    for rank, run in enumerate(runs):
        (tmp_path / str(rank)).mkdir()
        shutil.copytree(run.folder / "ck", tmp_path / str(rank) / "ck")
        state = tmp_path / str(rank) / "ck/ckpt-5/state.json"
        records.append(digest.verified(state.read_bytes()))
    records[1]["state"] = records[0]["state"]  # as if it were of the same run
    state.write_bytes(digest.with_digest(records[1]))
    flags = ("--lr=0.01", "--max_steps=9", "--checkpoint_dir=ck")
    for code, _, errors in ends(workers(flags, flags)):
        assert code == 1
        assert "the weights after restoring of worker 1 (" in errors
        assert errors.strip().endswith("; all stop")
