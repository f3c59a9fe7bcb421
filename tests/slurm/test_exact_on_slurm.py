"""--shards on a real SLURM: two tasks and four end with the same line."""

import sys

from tests.slurm.conftest import ROOT

FLAGS = (
    *("--no_gpu", "--shards=4", "--conv_filters=4,8", "--kernel_size=3", "--dense_units=32"),
    *("--validation_size=500", "--batch_size=50", "--max_steps=100"),
    *("--optimizer=adam", "--clip_norm=0.5", "--ema=0.9", "--shift_px=2"),
)


def test_two_tasks_and_four(cluster, images, tmp_path):
    lines, metrics = [], []
    for tasks in ("-N2 -n2", "-N3 -n4"):
        folder = tmp_path / tasks.replace(" ", "")
        own = (f"--data_dir={images}", f"--run_dir={folder}")
        command = (sys.executable, "-m", "mnist_dist.train", *FLAGS, *own)
        srun = ["srun", "--quiet", *tasks.split()]  # it may wait for the last test's nodes
        done = cluster.run(*srun, *command, cwd=ROOT, timeout_s=300)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"Replicas: {tasks[-1]} over {tasks[-1]} worker(s)" in done.stdout
        lines.append(done.stdout.splitlines()[-1])
        metrics.append((folder / "metrics.jsonl").read_bytes())
    assert lines[0].startswith("weights_sha256: ")
    assert lines[0] == lines[1]
    assert metrics[0] == metrics[1]
