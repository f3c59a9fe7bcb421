"""No sum whose order TensorFlow chooses at run time: the same command gives the same bits."""

import json
import sys

import pytest

from tests import warm
from tests.curves import ROOT, SMALL
from tests.devices.test_curves import EVERYTHING

FACTORS = ("--reduce=factors", "--dense_units=256")
CASES = {
    1: [("--accumulate_steps=3", *EVERYTHING), ("--optimizer=muon", "--batch_norm")],
    2: [("--shards=4", "--batch_norm", "--residual", "--clip_norm=1", "--ema=0.9", *FACTORS)],
    3: [FACTORS, ("--accumulate_steps=3", "--batch_norm", "--residual", "--kernel_size=3")],
}


@pytest.mark.parametrize("devices", CASES)
def test_no_operation_adds_three(tmp_path, subset, devices):
    common = [*SMALL, f"--data_dir={subset}", f"--virtual_devices={devices}", "--max_steps=2"]
    lines = [
        [*common, f"--run_dir={tmp_path}/{number}", *flags]
        for number, flags in enumerate(CASES[devices])
    ]
    command = [sys.executable, f"{ROOT}/tests/devices/summing.py", json.dumps(lines)]
    done = warm.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    codes, graphs, nodes, rewritten, found = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0] * len(lines), done.stderr[-2000:]
    assert graphs >= 2 * len(lines)
    assert nodes > 1000
    assert found == []
    assert rewritten == []
