"""prepare writes what plain TFDS reads, whole or not at all."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mnist_dist.data import sources
from tests import warm
from tests.waiting import wait_for

PREPARE = (sys.executable, "-m", "mnist_dist.data.prepare")

# Plain TFDS in a process that never heard of this package.
PLAIN = """
import json, sys, hashlib
import numpy as np, tensorflow_datasets as tfds
name, folder = sys.argv[1:]
found = {}
for part in ("train", "test"):
    dataset = tfds.load(name, split=part, data_dir=folder, download=False, batch_size=-1)
    data = tfds.as_numpy(dataset)
    found[part] = [list(data["image"].shape), np.bincount(data["label"]).tolist(),
                   sum(map(int, data["image"].sum((1, 2, 3), np.int64) * (data["label"] + 1)))]
print(json.dumps(found))
"""


def expected(split):
    images, labels = split
    weighed = images.sum((1, 2, 3), np.int64) * (labels + 1)
    return [list(images.shape), np.bincount(labels).tolist(), int(weighed.sum())]


def test_plain_tfds_reads_it(subset, tmp_path):
    """All images with their labels; also where it was stopped with -9 while it wrote MNIST."""
    command = [*PREPARE, f"--data_dir={tmp_path}"]
    process = warm.Popen(command)
    try:
        files = ".preparing-*/**/*tfrecord*"
        wait_for("a file", lambda: any(tmp_path.glob(files)) or process.poll() is not None, 300)
        assert process.poll() is None, "it ended before it was seen writing"
    finally:
        process.kill()
        process.wait()
    place = tmp_path / "mnist" / "3.0.1"
    assert not place.exists()

    command += [f"--idx_dir={subset}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Prepared {place}\n"
    assert not done.stderr
    plain = [sys.executable, "-c", PLAIN, "mnist", tmp_path]
    read = warm.run(plain, capture_output=True, text=True, timeout=300)
    assert read.returncode == 0, read.stderr
    data = sources.load(str(subset), "", 0)
    found = json.loads(read.stdout.splitlines()[-1])
    assert found == {"train": expected(data.train), "test": expected(data.test)}
    assert found["train"][0] == [3000, 28, 28, 1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "required: --data_dir"),
        (["--data_dir={}", "--nmae=x"], "--nmae: no such flag; did you mean --name?"),
        (["--data_dir={}", "stray"], "unrecognized arguments: stray"),
        (["--data_dir={}", "--name=../x"], "--name=../x: give a TFDS name"),
        (["--data_dir={}", "--idx_dir={}/none"], "none: no such folder"),
        (["--data_dir={}", "--idx_dir={}"], "it has file; what is read is"),
        (["--data_dir={}/file"], "can't write there"),
    ],
    ids=["nothing", "unknown", "stray", "name", "no-folder", "other-files", "file"],
)
def test_refuses(trainer, tmp_path, arguments, word):
    (tmp_path / "file").write_text("")
    done = trainer.tool("data.prepare", *(argument.format(tmp_path) for argument in arguments))
    assert word in done.refused()
    assert not done.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_refuses_a_damaged_folder(trainer, tmp_path):
    folder = tmp_path / "idx"
    folder.mkdir()
    for path in sources.embedded_folder().glob("*.gz"):
        (folder / path.name).write_bytes(path.read_bytes()[:-5])
    done = trainer.tool("data.prepare", f"--data_dir={tmp_path}/out", f"--idx_dir={folder}")
    assert "bad gzip" in done.refused()
    assert not (tmp_path / "out").exists()


def test_says_that_a_tfds_name_is_unknown(trainer, tmp_path):
    done = trainer("--no_gpu", "--dataset=no_such_set", f"--data_dir={tmp_path}")
    assert done.refused().startswith("mnist_dist: --dataset=no_such_set: no such set")
