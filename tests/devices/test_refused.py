"""Devices that can't be had, asked for on the command line: one line, exit code 2, nothing left."""

import json
import sys

import pytest

from tests import warm
from tests.curves import ROOT

CASES = {
    ("--batch_size=3", "--virtual_devices=4"): "--batch_size=3 over 4 replicas leaves some without",
    ("--strategy=mirrored", "--no_gpu"): "--strategy=mirrored with 1 worker(s) of 1 device(s)",
    ("--strategy=one", "--virtual_devices=2"): "--strategy=one with 2 replicas",
    ("--strategy=multi_worker", "--no_gpu"): "--strategy=multi_worker with one worker",
    ("--gpus=0,2",): "--gpus=0,2: this machine shows 0 GPU(s)",
    ("--gpus=2",): "--gpus=2: this machine shows 0 GPU(s)",
    ("--gpus=0,0",): "--gpus=0,0: give a count from 1, or different indices",
    ("--gpus=first",): "--gpus=first: give a count, or indices such as 0,2",
    ("--gpus=-1",): "--gpus=-1: give a count from 1, or different indices",
    ("--gpus=0",): "--gpus=0: give a count from 1, or different indices",
    ("--precision=tf32", "--no_gpu"): "--precision=tf32 needs an NVIDIA GPU",
    ("--collective=nccl", "--no_gpu"): "--collective=nccl is for NVIDIA GPUs",
    ("--data_format=channels_first", "--eager", "--no_gpu"): "--data_format=channels_first with",
    ("--data_format=channels_first", "--precision=mixed_float16", "--no_gpu"): (
        "--data_format=channels_first with --precision=mixed_float16"
    ),
    ("--shards=8", "--virtual_devices=3"): (
        "--shards=8 over 3 replicas: the shards can't be divided evenly; run on 1, 2, 4, 8"
    ),
    ("--shards=4", "--virtual_devices=4", "--accumulate_steps=2"): (
        "--accumulate_steps=2 with 1 of --shards=4 on each of 4 replicas"
    ),
    ("--xla=on", "--batch_norm", "--virtual_devices=2"): (
        "--xla=on with --batch_norm and 2 replicas: XLA compiles each replica's gradients by"
    ),
    ("--reduce=factors", "--virtual_devices=2"): (
        "--reduce=factors: no dense kernel's factors, 64 rows x (inputs + units) in a step, are "
    ),
    ("--virtual_devices=65",): "--virtual_devices=65: out of range; give at least 0 and at most 64",
}
EACH = """
import contextlib, io, json, sys
from mnist_dist.train import main
for arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = main(arguments)
    print(json.dumps([code, errors.getvalue()]))
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Case -> exit code and standard error; all in one process, so that TensorFlow starts once."""
    folder = tmp_path_factory.mktemp("refused")
    places = [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
    small = ["--conv_filters=2", "--dense_units=4", "--max_steps=1"]  # if one isn't refused
    given = json.dumps([[*small, *case, *places] for case in CASES])
    done = warm.run(
        [sys.executable, "-c", EACH, given], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not list(folder.iterdir())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(CASES, rows, strict=True))


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_one_line(ends, case):
    code, errors = ends[case]
    assert code == 2
    assert errors.startswith(f"mnist_dist: {CASES[case]}")
    assert errors.count("\n") == 1
