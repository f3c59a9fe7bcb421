"""Real training on a disk that fails: at a chosen call, then at seeded ones.

The same command again must give what a run without a fault gives, bit for bit, and leave nothing
beside it. MNIST_DIST_FAULTS_MINUTES=60 goes on with new seeds for that long; a failure names its
seed, and MNIST_DIST_FAULTS_SEED begins there.
"""

import errno
import os
import random
import re
import shutil
import subprocess
import time
import warnings

import pytest

from tests.process.faults.disk import DEAD, Disk
from tests.process.trainer import Trainer
from tests.process.training.test_resume import assert_same

KINDS = {"killed": DEAD, "full": errno.ENOSPC, "broken": errno.EIO, "stale": errno.ESTALE}
MINUTES = float(os.environ.get("MNIST_DIST_FAULTS_MINUTES", "0"))
SEED = int(os.environ.get("MNIST_DIST_FAULTS_SEED", "0"))
FLAGS = (
    *("--max_steps=24", "--checkpoint_every_steps=8", "--keep_checkpoints=1", "--log_interval=1"),
    *("--steps_per_loop=4", "--batch_size=16", "--optimizer=adam"),
)


class Lab:
    """A trainer on the disk, the run without a fault, and how many calls it made."""

    def __init__(self, place, small):
        self.disk = Disk(place)
        self.trainer = Trainer(place, subprocess.Popen, **self.disk.environment)
        self.flags = (*small, *FLAGS)
        self.place = place
        self.disk.arm(place / "whole")
        self.whole = self.trainer(*self.flags, folder=place / "whole")
        self.calls, _ = self.disk.disarm()
        assert self.whole.code == 0, self.whole.err

    def run(self, folder, at, kind, *more):
        """A run whose call number `at` goes wrong; which call that was."""
        self.disk.arm(folder, at, KINDS[kind])
        run = self.trainer(*self.flags, *more, folder=folder)
        return run, self.disk.disarm()[1]

    def survive(self, folder, at, kind, *more):
        """A fault, then the same command: one line, and all is as if there had been none."""
        run, call = self.run(folder, at, kind, *more)
        what = f"{kind} at call {at} ({call})"
        if run.code:
            assert run.code == 1, what
            assert re.fullmatch(r"mnist_dist: [^\n]+\n", run.err), f"{what}: {run.err}"
        else:
            assert run.err == "", f"{what}: {run.err}"
        for path in folder.glob("*/run-*.lock"):  # this one process goes on, as no user's does
            path.unlink()
        again = self.trainer(*self.flags, folder=folder)
        assert again.code == 0, f"{what}: {again.err}"
        assert "Lost" not in again.out, what
        assert "Skipped" not in again.out, what
        assert_same(self.trainer, again, self.whole)
        left = [p.name for part in ("ck", "out") for p in (folder / part).iterdir()]
        names = {"ckpt-24", "metrics.jsonl", "times.jsonl", "result.json", "predictions.npz"}
        assert {name for name in left if not name.startswith(("previous-", "events."))} == {
            *names,
            *("validation", "eval"),
        }, what
        shutil.rmtree(folder)
        return call


@pytest.fixture(scope="module")
def lab(tmp_path_factory, small):
    made = Lab(tmp_path_factory.mktemp("faults"), small)
    yield made
    made.trainer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_two_seeded_calls(lab, kind):
    """One in the run's first half and one in its second."""
    half = lab.calls // 2
    for first, last in ((1, half), (half + 1, lab.calls)):
        at = random.Random(f"{kind} {SEED} {first}").randint(first, last)
        lab.survive(lab.place / f"{kind}-{at}", at, kind)


def test_the_disk_is_tried_at_all(lab):
    """So that the tests above can fail: all files are met, and a fault ends a run."""
    assert lab.calls > 60
    run, call = lab.run(lab.place / "tried", lab.calls // 2, "full")
    assert call
    assert run.code == 1, run.out + run.err
    assert "No space left on device" in run.err


@pytest.mark.skipif(not MINUTES, reason="a long test: MNIST_DIST_FAULTS_MINUTES=60")
def test_faults_for_minutes(lab):
    end, seed, calls, found = time.monotonic() + 60 * MINUTES, SEED, {}, []
    while time.monotonic() < end:
        seed += 1
        draw = random.Random(seed)
        kind, at = draw.choice(list(KINDS)), draw.randint(1, lab.calls)
        try:
            call = lab.survive(lab.place / f"seed-{seed}", at, kind)
        except AssertionError as error:
            found.append(f"MNIST_DIST_FAULTS_SEED={seed - 1}: {error}")
            print(found[-1], flush=True)
            continue
        calls[call] = calls.get(call, 0) + 1
    warnings.warn(f"{seed - SEED} faults, {len(found)} found something: {calls}", stacklevel=1)
    assert not found, "\n".join(found)
