"""oneDNN computes the gradients of all max-poolings, on every worker and device.

TensorFlow's pass says which nodes it rewrites for oneDNN in its own log.
"""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

RUN = ("--no_gpu", "--max_steps=2", "--log_interval=1")
REWRITTEN = re.compile(r"^\[(\d)\].*rewrote node (\S+) with op MaxPoolGrad for Mkl", re.MULTILINE)
POOLS = 2
"""Max-poolings of the network."""


@pytest.mark.parametrize(
    ("workers", "flags", "each"),
    [(1, (), 1), (1, ("--virtual_devices=2",), 2), (2, (), 1)],
    ids=["alone", "devices", "workers"],
)
def test_gradients_of_max_pooling(tmp_path, workers, flags, each):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mnist_dist.local", "-n", str(workers), "--", *RUN, *flags),
            f"--run_dir={tmp_path}/run",
        ],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "mkl_layout_pass=1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    found = Counter(worker for worker, _ in set(REWRITTEN.findall(said)))
    assert found == {str(worker): POOLS * each for worker in range(workers)}
