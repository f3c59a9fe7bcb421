"""Wrong input: one line on standard error, exit 2, nothing written. The command line as it is used.

Most cases run in the trainer's one process; a few in a process of their own, as a user has it.
"""

import gzip
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest

from mnist_dist.data import sources
from tests.mnist_files import cut
from tests.process.trainer import SMALL, train

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = sources.IDX_FILES


@pytest.fixture
def place(tmp_path):
    """A folder with a set of 50 and 20 images, a file, and a run's earlier files."""
    (tmp_path / "data").mkdir()
    cut(tmp_path / "data", 50, 20)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/result.json").write_text("kept too")
    return tmp_path


def tree(folder):
    """Path -> contents; None for a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


FOLDERS = ("--data_dir={}/data", "--checkpoint_dir={}/ck", "--output_dir={}/out")
HELD_OUT = ("--validation_size=10", "--validation=shuffled")
FLAGS = {
    "unknown": (["--bath_size=3"], "--bath_size: no such flag; did you mean --batch_size?"),
    "dashed": (["--bath-size=3"], "--bath-size: no such flag; did you mean --batch_size?"),
    "stray": (["more"], "'more': arguments without a flag aren't understood"),
    "newline": (["more\nand more"], "'more\\nand more': arguments without a flag"),
    "nan": (["--lr=nan"], "--lr=nan: give a finite number"),
    "inf": (["--momentum=inf"], "--momentum=inf: give a finite number"),
    "overflow": (["--lr=1e39"], "--lr=1e+39: out of range; give at least 0.0 and at most 1e+30"),
    "negative": (["--lr=-0.1"], "--lr=-0.1: out of range; give at least 0.0"),
    "zero": (["--epochs=0"], "--epochs=0: out of range; give at least 1"),
    "type": (["--epochs=ten"], "--epochs=ten: give a whole number, such as 10"),
    "choice": (["--resume=perhaps"], "--resume=perhaps: allowed are auto, never, must"),
    "exclusive": (["--gpus=1"], "--gpus=1 and --no_gpu exclude each other"),
    "flagfile": (["--flagfile={}/none.cfg"], "{}/none.cfg: can't be read (No such file"),
    "long-path": (["--flagfile={}/" + 90 * "x"], "{}/" + 90 * "x" + ": can't be read (No such"),
    "batch": (["--batch_size=41"], "--batch_size=41 is more than the training set has images, 40"),
    "held-out": (["--validation_size=50"], "--validation_size=50: the training set has 50 images"),
    "layers": (["--conv_filters=2,2,2,2"], "convolution 3 gets a feature map of"),
    "eager": (["--eager", "--data_format=channels_first"], "leave out one of the two"),
    "output": (["--output_dir={}/file/out"], "--output_dir={}/file/out: can't write there (Not a"),
    "output-is-a-file": (["--output_dir={}/file"], "can't write there (File exists)"),
    "checkpoints": (["--checkpoint_dir={}/file"], "--checkpoint_dir={}/file: can't write there"),
    "read-only": (["--checkpoint_dir=/proc/ck"], "--checkpoint_dir=/proc/ck: can't write there"),
    "data-is-a-file": (["--data_dir={}/file"], "{}/file: a file; give the folder"),
    "no-set": (["--dataset=no_such_set"], "--dataset=no_such_set: no such set"),
    "no-classes": (["--dataset=coco"], "--dataset=coco: not a set of images with one class each"),
    "must": (["--resume=must"], "there is no whole checkpoint in {}/ck"),
    "empty": (["--checkpoint_dir="], "--checkpoint_dir is empty; give a folder to save in"),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags(trainer, place, case):
    flags, words = FLAGS[case]
    before = tree(place)
    words = words.replace("{}", str(place))
    argv = [word.replace("{}", str(place)) for word in (*FOLDERS, *flags)]
    run = trainer.main(*SMALL, *HELD_OUT, "--batch_size=8", *argv)
    assert words in run.refused()
    assert tree(place) == before


def write(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def change(name, edit):
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def zipped(name, edit):
    def harm(folder):
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / f"{name}.gz").write_bytes(edit(gzip.compress(data)))

    return harm


HUGE = b"\0\0\x08\x03" + struct.pack(">III", 2**32 - 1, 2**16, 2**16)
DAMAGES = {
    "truncated": (change(TRAIN_IMAGES, lambda data: data[:-1]), "truncated or damaged"),
    "cut-head": (change(TRAIN_IMAGES, lambda data: data[:9]), "truncated, 9 bytes of header of 16"),
    "longer": (change(TEST_IMAGES, lambda data: data + b"\0"), "truncated or damaged"),
    "empty": (write(TRAIN_IMAGES, b""), "not an IDX file, it begins with nothing"),
    "magic": (write(TRAIN_IMAGES, b"\x89PNG, not IDX"), "not an IDX file, it begins with 89504e47"),
    "floats": (change(TRAIN_IMAGES, lambda d: b"\0\0\x0d" + d[3:]), "IDX magic number 00000d03"),
    "labels-as-images": (
        lambda folder: shutil.copy(folder / TRAIN_LABELS, folder / TRAIN_IMAGES),
        "IDX magic number 00000801, expected 00000803",
    ),
    "sizes": (
        write(TRAIN_LABELS, b"\0\0\x08\x01" + struct.pack(">I", 49) + b"\1" * 49),
        "50 training images and 49 labels",
    ),
    "terabytes": (write(TRAIN_IMAGES, HUGE + b"\0" * 99), "more than the file can hold"),
    "terabytes-zipped": (
        zipped(TRAIN_IMAGES, lambda data: gzip.compress(HUGE + b"\0" * 99)),
        "more than the file can hold",
    ),
    "torn-gzip": (zipped(TRAIN_IMAGES, lambda data: data[:-20]), "bad gzip"),
    "bad-gzip": (zipped(TEST_LABELS, lambda data: data[:-8] + b"\0" * 8), "bad gzip"),
    "class": (
        change(TEST_LABELS, lambda data: data[:-1] + b"\xc8"),
        "test label 200 is outside the 10 classes, 0 to 9",
    ),
    "missing": (lambda folder: (folder / TRAIN_LABELS).unlink(), f"{TRAIN_LABELS} missing"),
    "folder": (
        lambda folder: [(folder / TRAIN_LABELS).unlink(), (folder / TRAIN_LABELS).mkdir()],
        f"{TRAIN_LABELS} missing",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_data(trainer, place, case):
    harm, words = DAMAGES[case]
    harm(place / "data")
    before = tree(place)
    argv = [word.replace("{}", str(place)) for word in FOLDERS]
    run = trainer.main(*SMALL, *HELD_OUT, "--batch_size=8", *argv)
    assert words in run.refused()
    assert f"{place}/data" in run.err
    assert tree(place) == before


@pytest.mark.parametrize("case", ["unknown", "flagfile", "batch", "torn-gzip"])
def test_in_a_process_of_its_own(place, case):
    flags, words = FLAGS.get(case) or ((), DAMAGES[case][1])
    if case in DAMAGES:
        DAMAGES[case][0](place / "data")
    before = tree(place)
    argv = [word.replace("{}", str(place)) for word in (FOLDERS[0], *flags)]
    run = train(
        place,
        *SMALL,
        "--validation_size=10",
        "--validation=shuffled",
        "--batch_size=8",
        *argv,
        run=subprocess.run,
    )
    assert words.replace("{}", str(place)) in run.refused()
    assert tree(place) == before


def test_no_network_for_a_set_that_is_not_prepared(trainer, place):
    """One line. (What TFDS's downloader began stays in the data folder.)"""
    argv = [word.replace("{}", str(place)) for word in FOLDERS]
    before = tree(place)
    run = trainer.main(*SMALL, *argv, "--dataset=kmnist")
    assert re.match(
        rf"mnist_dist: --dataset=kmnist: not prepared under {place}/data, and downloading failed "
        r"\(.*\); prepare it there on a machine with network access\n",
        run.refused(),
    )
    assert run.out == f"kmnist isn't prepared under {place}/data: downloading it.\n"
    after = tree(place)
    assert {path: after[path] for path in before} == before
    assert not (place / "ck").exists()


@pytest.mark.parametrize(
    ("flags", "what", "saves"),
    [
        # Weights of 1e7 after step 1, whose gradients overflow soon: one or the other is seen.
        (
            ["--lr=1e9", "--checkpoint_every_steps=1"],
            r"(the loss|a gradient|model/\S+) \S+ \S+",
            True,
        ),
        # Loss and weights are finite, and the evaluation overflows.
        (["--lr=1e30", "--max_steps=1"], "the validation loss is nan", False),
        # A relu makes 0 of what is no number, so the loss is finite and the weights are not.
        (
            ["--lr=1e9", "--checkpoint_every_steps=10"],
            r"(the loss|a gradient|model/\S+) \S+ \S+",
            False,
        ),
    ],
    ids=["steps", "evaluation", "weights"],
)
def test_what_is_not_finite(trainer, small, flags, what, saves):
    """Exit 1; one line names worker, host and step; nothing that isn't finite is saved."""
    run = trainer(*small, *flags, "--log_interval=1")
    form = (
        rf"mnist_dist: worker 0 \(host \S+\): {what} at step (?P<step>\d+)"
        r"(?P<batch>( on worker 0 \(replica 0\))?, of the 64 training examples (\d+, ){63}\d+)?"
        r", and nothing was saved since; lower --lr, or warm it up with --warmup_steps\n"
    )
    found = re.fullmatch(form, run.refused(code=1))
    assert found, run.err
    assert bool(found["batch"]) != ("validation" in what)
    assert run.checkpoints() == (list(range(1, int(found["step"]))) if saves else [])
    for step in run.checkpoints():
        variables = trainer.weights(run.folder / f"ck/ckpt-{step}")
        assert all(np.isfinite(array).all() for array in variables.values())
    metrics = (run.folder / "out/metrics.jsonl").read_text()
    assert not re.search("NaN|Infinity", metrics)
    assert not (run.folder / "out/result.json").exists()
