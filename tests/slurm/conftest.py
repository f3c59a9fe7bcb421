"""One real SLURM for all tests of this folder."""

import json
import os
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from mnist_dist.run import store
from tests import held, warm
from tests.mnist_files import cut
from tests.slurm.cluster import Cluster, missing
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-8
IMAGES = "--data_dir=IMAGES"
"""Stands in flags for the folder of the fixture `images`."""

FLAGS = [
    *(IMAGES, "--precision=float64", "--batch_size=50", "--conv_filters=2,4", "--dense_units=16"),
    *("--validation_size=500", "--log_interval=1", "--steps_per_loop=5", "--epochs=100"),
    *("--connect_timeout=60", "--peer_timeout=6"),
]
STEPS = 400


@pytest.fixture(scope="session")
def cluster():
    """Three nodes of 4 pretended cores and 2 pretended GPUs; all of it gone afterwards."""
    reason = missing()
    if reason and not (os.environ.get("CI") or os.environ.get("MNIST_DIST_REQUIRE_SLURM")):
        pytest.skip(reason)
    assert not reason, reason
    with tempfile.TemporaryDirectory(prefix="mnist_dist-slurm-") as folder:
        made = Cluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture(autouse=True)
def _empty_queue(request):
    """No job of a failed test stays for the next one."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").cancel_all()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder with MNIST's first images: 5,500, an epoch of 100 steps of FLAGS, and 1,003."""
    folder = tmp_path_factory.mktemp("images")
    cut(folder, 5500, 1003)
    return folder


def with_images(flags, images):
    return [f"--data_dir={images}" if flag == IMAGES else flag for flag in flags]


@pytest.fixture
def submit(cluster, images, tmp_path):
    """Gives a job to the cluster: submit(options, script, flags) -> Job.

    hold_at: global steps ("20" or "20,40") at which its trainers wait: `Job.held`.
    """

    def give(options, script="launch/train.slurm", flags=(), hold_at="", **environment):
        hold = f" {held.HOLD} {tmp_path} {hold_at}" if hold_at else ""
        environment = {
            "MNIST_DIST_PYTHON": sys.executable + hold,
            "MNIST_DIST_RUNS": str(tmp_path / "all runs"),
            **environment,
        }
        log = tmp_path / "%x-%j.log"
        done = cluster.run(
            *("sbatch", "--parsable", f"--output={log}", *options, str(script)),
            *with_images(flags, images),
            cwd=ROOT,
            environment=environment,
        )
        assert done.returncode == 0, done.stderr
        return Job(cluster, done.stdout.strip(), tmp_path)

    return give


@pytest.fixture(scope="session")
def alone(tmp_path_factory, images):
    """The losses by step of a single process outside of SLURM, never interrupted."""
    folder = tmp_path_factory.mktemp("alone")
    flags = [*with_images(FLAGS, images), f"--max_steps={STEPS}", "--no_gpu"]
    places = [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
    warm.run(
        [sys.executable, "-m", "mnist_dist.train", *flags, "--steps_per_loop=100", *places],
        **{"check": True, "cwd": ROOT, "capture_output": True},
    )
    rows = map(json.loads, (folder / "out/metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if row["split"] == "train"}


class Job:
    """A submitted job, its log and its folder."""

    def __init__(self, cluster, number, folder):
        self.cluster, self.number, self._folder = cluster, number, folder

    @property
    def log(self):
        text = [path.read_text() for path in self._folder.glob(f"*-{self.number}.log")]
        return "".join(text)

    @property
    def run(self):
        [path] = (self._folder / "all runs").glob(f"*-{self.number}")
        return path

    def wait(self, *states, deadline_s=240):
        """Waits for the job's end. Raises with its log if it is another than one of `states`."""
        ends = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", *states}
        try:
            found = self.cluster.wait_state(self.number, *ends, deadline_s=deadline_s)["JobState"]
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from error
        assert found in (states or {"COMPLETED"}), f"{found}\n{self.log[-4000:]}"
        return self

    def wait_log(self, text, times=1, deadline_s=240):
        """Waits until the log has `text`."""
        try:
            wait_for(f"'{text}'", lambda: self.log.count(text) >= times, deadline_s)
        except TimeoutError as error:
            state = self.cluster.job(self.number)["JobState"]
            raise AssertionError(f"{error}; {state}\n{self.log[-4000:]}") from error
        return self

    def held(self, step, tasks):
        """Waits until all trainers hold at a step of `hold_at`; returns their processes by rank.

        A trainer goes on when it is told to stop, or by `release`.
        """
        try:
            return held.held(self._folder, step, tasks, self.number)
        except (TimeoutError, psutil.NoSuchProcess) as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from error

    def saved(self, step):
        """Waits until the checkpoint of a step is whole, which a thread of worker 0 saves."""
        wait_for(
            f"the checkpoint of step {step}",
            lambda: (found := store.newest(self.run / "checkpoints")[0]) and found.step >= step,
            240,
        )

    def release(self, step):
        """Lets the trainers that hold at a step go on."""
        held.release(self._folder, step, self.number)

    def losses(self):
        """The training's loss by step; a step twice is an error."""
        path = self.run / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        train = [row for row in rows if row["split"] == "train"]
        assert len({row["step"] for row in train}) == len(train), "a step was logged twice"
        return {row["step"]: row["loss"] for row in train}


def assert_same_curve(job, alone, steps):
    losses = job.losses()
    assert sorted(losses) == list(range(1, steps + 1))
    worst = max(abs(losses[step] - alone[step]) for step in losses)
    assert worst < TOLERANCE, worst
    result = json.loads((job.run / "result.json").read_text())
    assert result["steps"] == steps
    return result
