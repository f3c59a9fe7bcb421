"""The doctor's burn-in finds a planted flipped bit and names the right device: real workers."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests import warm
from tests.process.trainer import DEADLINE_S, ROOT, environment
from tests.unit.cluster.meeting import addresses

FLIPS = """
import sys
from mnist_dist.devices.startup_messages import without_startup_messages
with without_startup_messages():
    from mnist_dist.doctor import burn_in
from mnist_dist.doctor.__main__ import main
own, rounds = burn_in.BurnInTraining.train, [0]

def train(self):
    own(self)
    rounds[0] += self._name == "/cpu:1"
    if self._name == "/cpu:1" and (rounds[0] == 2 or ALWAYS):
        kernel = self.variables["model/dense1/kernel"]
        values = kernel.numpy()
        values.view("uint32")[3, 5] ^= 1
        kernel.assign(values)

burn_in.BurnInTraining.train = train
sys.exit(main(sys.argv[1:]))
"""
SMALL = ("--no_gpu", "--conv_filters=2", "--dense_units=8", "--virtual_devices=2", "--json")


def doctor(tmp_path, program, *flags, **variables):
    return warm.Popen(
        [sys.executable, *program, *SMALL, f"--checkpoint_dir={tmp_path}/ck", *flags],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT},
        env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", str(ROOT)), **variables),
    )


def ends(processes):
    try:
        return [
            (*process.communicate(timeout=DEADLINE_S), process.returncode) for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("always", [False, True])
def test_a_flipped_bit_is_found_and_its_device_named(tmp_path, always):
    flips = f"ALWAYS = {always}\n{FLIPS}"
    cluster, started = {"worker": addresses(2)}, []
    for rank, program in enumerate([("-m", "mnist_dist.doctor"), ("-c", flips)]):
        told = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
        started.append(doctor(tmp_path, program, "--burn_in=1", TF_CONFIG=told))
    (output, errors, code), (_, _, other_code) = ends(started)
    assert (code, other_code) == (1, 1), errors
    report = json.loads(output)
    [finding] = [finding for finding in report["findings"] if finding["bad"]]
    flipped = report["burn_in"]["workers"][1][1]
    rounds = sum(flipped["digests"].values())
    wrong = rounds if always else 1
    assert sorted(flipped["digests"].values()) == ([rounds] if always else [1, rounds - 1])
    how = ", each time the same: it errs always" if always else ": it errs now and then"
    assert finding["text"].startswith(
        f"worker 1 (host {socket.gethostname()}): /cpu:1: other bits than most of its kind in "
        f"{wrong} of {rounds} rounds{how}"
    )
    sound = [one for own in report["burn_in"]["workers"] for one in own if one is not flipped]
    assert len({digest for one in sound for digest in one["digests"]}) == 1
    assert [one["device"] for one in sound] == ["/cpu:0", "/cpu:1", "/cpu:0"]


def test_a_sound_machine_is_well(tmp_path):
    [(output, errors, code)] = ends(
        [doctor(tmp_path, ("-m", "mnist_dist.doctor"), "--burn_in=1", "--batch_norm")]
    )
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert report["well"]
    [[first, second]] = report["burn_in"]["workers"]
    assert first["digests"].keys() == second["digests"].keys()
    assert len(first["digests"]) == 1


NEEDED = "give seconds, more than 0, such as --burn_in=60"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--burn_in=soon", f"--burn_in=soon: {NEEDED}"),
        ("--burn-in=0", f"--burn_in=0: {NEEDED}"),
        ("--burn_in", "argument --burn_in: expected one argument; --help lists the arguments"),
    ],
)
def test_a_wrong_time_is_one_line(tmp_path, given, said):
    [(output, errors, code)] = ends([doctor(tmp_path, ("-m", "mnist_dist.doctor"), given)])
    assert (code, output) == (2, "")
    assert errors == f"mnist_dist: {said}\n"
