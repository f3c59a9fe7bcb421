"""prepare writes what plain TFDS reads; run as a user would, each a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mnist_dist.data import sources
from tests.mnist_files import fashion_mnist
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

# The package's own reader, against the arrays of the IDX files.
OWN = """
import sys
import numpy as np
from mnist_dist.data import sources
name, folder, idx_folder = sys.argv[1:]
ours, there = sources.load(folder, name, 5000), sources.load(idx_folder, "", 5000)
for part in ("train", "validation", "test"):
    for a, b in zip(getattr(ours, part), getattr(there, part), strict=True):
        assert a.dtype == b.dtype, (a.dtype, b.dtype)
        np.testing.assert_array_equal(a, b)
assert ours.fingerprint == there.fingerprint
assert ours.num_classes == there.num_classes
print(ours.source)
"""


def python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def prepare(*arguments):
    command = [*PREPARE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def expected(split):
    images, labels = split
    weighed = images.sum((1, 2, 3), np.int64) * (labels + 1)
    return [list(images.shape), np.bincount(labels).tolist(), int(weighed.sum())]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_plain_tfds_reads_it(tmp_path, name):
    """All images with their labels; ours in the order of the files, so that splits agree."""
    idx_folder = tmp_path / "nothing there"
    arguments = ["--data_dir", tmp_path]
    if name == "fashion_mnist":
        idx_folder = fashion_mnist()
        arguments = [f"--data-dir={tmp_path}", "--idx-dir", idx_folder, f"--name={name}"]
    done = prepare(*arguments)
    assert done.returncode == 0, done.stderr
    place = tmp_path / name / "3.0.1"
    assert done.stdout == f"Prepared {place}\n"
    assert not done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]

    data = sources.load(str(idx_folder), "", 0)
    found = json.loads(python(PLAIN, name, tmp_path).stdout.splitlines()[-1])
    assert found == {"train": expected(data.train), "test": expected(data.test)}
    assert found["train"][0] == [60000, 28, 28, 1]

    assert python(OWN, name, tmp_path, idx_folder).stdout == (
        f"TFDS {name}/3.0.1 ({place}): 55000 train, 5000 validation, 10000 test\n"
    )

    before = {path: path.read_bytes() for path in place.iterdir()}
    again = prepare(*arguments)
    assert again.returncode == 2
    assert again.stderr == (
        f"mnist_dist: {place} is there already; remove it, or give another --data_dir\n"
    )
    assert {path: path.read_bytes() for path in place.iterdir()} == before


def test_killed_leaves_nothing_that_counts(tmp_path):
    """Stopped with -9 while it writes; then it is done again."""
    process = subprocess.Popen([*PREPARE, f"--data_dir={tmp_path}"])
    try:
        files = ".preparing-*/**/*tfrecord*"
        wait_for("a file", lambda: any(tmp_path.glob(files)) or process.poll() is not None, 300)
        assert process.poll() is None, "it ended before it was seen writing"
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "mnist" / "3.0.1").exists()
    done = prepare(f"--data_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "required: --data_dir"),
        (["--data_dir={}", "--nmae=x"], "unrecognized arguments: --nmae=x"),
        (["--data_dir={}", "stray"], "unrecognized arguments: stray"),
        (["--data_dir={}", "--name=../x"], "--name=../x: give a TFDS name"),
        (["--data_dir={}", "--idx_dir={}/none"], "no IDX files there"),
        (["--data_dir={}", "--idx_dir={}"], "it has file; what is read is"),
        (["--data_dir={}/file"], "can't write there"),
    ],
    ids=["nothing", "unknown", "stray", "name", "no-folder", "other-files", "file"],
)
def test_refuses(tmp_path, arguments, word):
    (tmp_path / "file").write_text("")
    done = prepare(*(argument.format(tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_refuses_a_damaged_folder(tmp_path):
    folder = tmp_path / "idx"
    folder.mkdir()
    for path in sources.embedded_folder().glob("*.gz"):
        (folder / path.name).write_bytes(path.read_bytes()[:-5])
    done = prepare(f"--data_dir={tmp_path / 'out'}", f"--idx_dir={folder}")
    assert done.returncode == 2
    assert "bad gzip" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_says_that_a_tfds_name_is_unknown(tmp_path):
    code = (
        "import sys\nfrom mnist_dist.data import sources\n"
        "from mnist_dist.errors import UsageError\n"
        "try: sources.load(sys.argv[1], 'no_such_set', 0)\n"
        "except UsageError as error: print(error)"
    )
    line = python(code, tmp_path).stdout
    assert line.startswith("--dataset=no_such_set: no such set")
    assert line.count("\n") == 1
