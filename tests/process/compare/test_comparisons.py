"""Real runs that part at a known step and layer, and what `compare` says of them."""

import json
import shutil
import subprocess
import sys

import pytest

from mnist_dist.run import digest, publishing
from tests import warm
from tests.process.trainer import ROOT, environment, folders

FAULTS = str(ROOT / "tests/process/training/bit_faults.py")
FLAGS = (*("--log_interval=1", "--steps_per_loop=1", "--max_steps=60", "--shift_px=1"),)
DIGESTS = ("--digest_every_steps=1",)


@pytest.fixture(scope="module")
def whole(trainer, small):
    run = trainer(*small, *FLAGS, *DIGESTS)
    assert run.code == 0, run.err
    return run


@pytest.fixture
def parted(trainer, whole):
    """What `compare --json` says of the whole run and another."""

    def compared(folder):
        done = trainer.tool("compare.__main__", whole.folder / "out", folder / "out", "--json")
        assert done.err == ""
        found = json.loads(done.out)
        assert done.code == (0 if found["equal"] else 1)
        return found

    return compared


def faulty(folder, small, **fault):
    """The same flags on a device that errs."""
    description = json.dumps({"rank": 0, "device": 0, **fault})
    command = [sys.executable, FAULTS, description, *small, *FLAGS, *DIGESTS, *folders(folder)]
    done = warm.run(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_digests_change_no_bit_and_come_at_their_steps(trainer, small, whole, parted):
    plain = trainer(*small, *FLAGS)
    some = trainer(*small, *FLAGS, "--digest_every_steps=7", "--steps_per_loop=10")
    for run in (plain, some):
        metrics = [(one.folder / "out/metrics.jsonl").read_bytes() for one in (run, whole)]
        assert metrics[0] == metrics[1]
        assert run.result()["weights_sha256"] == whole.result()["weights_sha256"]
    assert not (plain.folder / "out/digests.jsonl").exists()
    assert [line["step"] for line in some.lines("digests.jsonl")] == list(range(7, 57, 7))
    found = parted(some.folder)
    assert (found["equal"], found["digests"], found["steps"]) == (True, 8, 60)
    assert set(found["flags"]) == {"digest_every_steps", "steps_per_loop"}
    assert parted(plain.folder)["digests"] == 0


def test_another_seed_of_augmentation_from_step_37(parted, tmp_path, small):
    found = parted(faulty(tmp_path, small, kind="augmentation", step=36, always=True))
    assert (found["bits"]["step"], found["bits"]["what"]) == (37, "gradient")
    assert found["bits"]["equal_until"] == 36
    assert (found["metrics"]["step"], found["metrics"]["what"]) == (37, "train")
    assert found["flags"] == {}


def test_one_changed_weight_after_step_50(parted, tmp_path, small):
    fault = {"kind": "variable", "name": "model/logits/bias", "step": 49}
    found = parted(faulty(tmp_path, small, **fault))
    assert (found["bits"]["step"], found["bits"]["what"]) == (51, "gradient")


def test_one_changed_gradient_is_in_its_layer_alone(parted, tmp_path, small):
    found = parted(faulty(tmp_path, small, kind="gradient", name="logits/kernel", step=20))
    assert found["bits"]["names"] == ["logits/kernel"]
    assert (found["bits"]["step"], found["bits"]["what"]) == (21, "gradient")
    assert found["metrics"]["step"] >= 22


def test_another_epsilon(trainer, small):
    adam = (*small, *FLAGS, *DIGESTS, "--optimizer=adam", "--max_steps=20")
    runs = [trainer(*adam, f"--epsilon={epsilon}") for epsilon in ("1e-7", "1e-3")]
    done = trainer.tool("compare.__main__", *(run.folder / "out" for run in runs))
    assert done.code == 1
    assert "The weights differ at step 1 (the first compared): " in done.out
    assert "--epsilon" in done.out


def test_resumed_runs_repeat_no_line(trainer, small, whole, tmp_path):
    flags = (*small, *FLAGS, *DIGESTS, "--checkpoint_every_steps=20")
    run = trainer(*flags, "--max_steps=35", folder=tmp_path)
    shutil.rmtree(tmp_path / "ck/ckpt-35")
    run = trainer(*flags, folder=tmp_path)
    assert "Goes on from" in run.out
    files = [(one.folder / "out/digests.jsonl").read_bytes() for one in (run, whole)]
    assert files[0] == files[1]


def test_resumed_from_a_changed_checkpoint(trainer, small, parted, tmp_path):
    flags = (*small, *FLAGS, *DIGESTS)
    trainer(*flags, "--max_steps=20", folder=tmp_path)
    path = tmp_path / "ck/ckpt-20"
    change_a_weight(path)
    run = trainer(*flags, folder=tmp_path)
    assert "Goes on from" in run.out
    found = parted(tmp_path)
    assert found["bits"]["step"] == 21


CHANGE = """
import sys, tensorflow as tf
prefix, out = sys.argv[1:]
reader = tf.train.load_checkpoint(prefix)
names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
found = {n.split("/")[1].replace(".S", "/"): reader.get_tensor(n) for n in names}
found["model/conv1/kernel"].reshape(-1)[3] += 1e-3
variables = {name: tf.Variable(value) for name, value in found.items()}
tf.train.Checkpoint(variables=variables).write(out)
"""


def change_a_weight(path):
    """Another weight in a checkpoint, which is whole all the same."""
    state = digest.verified((path / "state.json").read_bytes())["state"]

    def write(place):
        command = [sys.executable, "-c", CHANGE, str(path / "weights"), str(place / "weights")]
        warm.run(command, check=True, cwd=ROOT, capture_output=True)

    publishing.publish(path.parent, 20, state, write)


def test_shards_give_equal_digests_on_any_number_of_replicas(trainer, small, tmp_path):
    flags = (*small, *FLAGS, *DIGESTS, "--shards=2", "--max_steps=10")
    program = [sys.executable, "-m", "mnist_dist.train", *flags]
    for devices in (1, 2):
        place = tmp_path / str(devices)
        command = [*program, f"--virtual_devices={devices}", *folders(place)]
        warm.run(command, check=True, cwd=ROOT, env=environment(), capture_output=True)
    places = [tmp_path / str(devices) / "out" for devices in (1, 2)]
    done = trainer.tool("compare.__main__", *places)
    assert done.code == 0, done.out
    assert "and the digests of 10 steps, up to step 10" in done.out
    assert "num_replicas" in done.out
