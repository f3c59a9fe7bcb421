"""Trains on devices that flip bits (bit_faults.py)."""

import json
import os
import re
import socket
import subprocess
import sys

from tests import warm
from tests.process.trainer import DEADLINE_S, ROOT, SMALL, Run, environment
from tests.unit.cluster.meeting import addresses

FAULTS = str(ROOT / "tests/process/training/bit_faults.py")
HOST = socket.gethostname()
FLAGS = (*SMALL, "--validation_size=500", "--log_interval=1", "--steps_per_loop=4")
DIFFER = {
    "copies": "the replicas' copies of weights or optimizer differ: ",
    "twice": "gradients that were computed twice differ: ",
}


def train(place, data, *flags, workers=1, devices=1, fault=None):
    """Trains on workers and devices, with a fault or without.

    Args:
        place: folder for ck/ and out/.
        data: --data_dir.
        flags: of the trainer.
        workers: number of processes.
        devices: logical devices of each.
        fault: see bit_faults.py; None for none.

    Returns:
        A Run for each worker.
    """
    started = []
    cluster = {"worker": addresses(workers)}
    program = [FAULTS, json.dumps(fault)] if fault else ["-m", "mnist_dist.train"]
    place.mkdir(exist_ok=True)
    flags = [*flags, f"--virtual_devices={devices}", f"--data_dir={data}"]
    flags += [f"--checkpoint_dir={place}/ck", f"--output_dir={place}/out"]
    for rank in range(workers):
        task = {"cluster": cluster, "task": {"type": "worker", "index": rank}}
        variables = {"PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
        if workers > 1:
            variables["TF_CONFIG"] = json.dumps(task)
        started.append(
            warm.Popen(
                [sys.executable, *program, *flags],
                **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
                env=environment(**variables),
                cwd=ROOT,
            )
        )
    try:
        ends = [(one.communicate(timeout=DEADLINE_S), one.returncode) for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()
    return [Run(code, out, err, place) for (out, err), code in ends]


def found(runs, text, blamed):
    """All workers ended with the same line, those to blame with their own exit code."""
    for rank, one in enumerate(runs):
        assert one.code == (76 if rank in blamed else 1), one.out + one.err
        assert re.fullmatch(r"mnist_dist: [^\n]+\n", one.err), one.err
        assert text in one.err
