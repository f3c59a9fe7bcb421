"""Other data than the embedded MNIST: Fashion-MNIST's files, a prepared TFDS set, another shape."""

import struct

import numpy as np
import pytest

from mnist_dist.data import sources
from tests.mnist_files import cut, fashion_mnist
from tests.process.network import numpy_network as reference
from tests.process.trainer import SMALL


def test_fashion_mnist(trainer):
    """Debian's files, gzipped, as they are: it learns in 100 steps."""
    fashion = fashion_mnist()
    run = trainer(*SMALL, f"--data_dir={fashion}", "--max_steps=100", "--lr=0.1")
    assert run.code == 0, run.err
    counts = "55000 train, 5000 validation, 10000 test, 28x28x1, 10 classes (0 to 9)"
    assert f"Data: IDX files in {fashion}: {counts}.\n" in run.out
    losses = list(run.losses().values())
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    assert run.result()["test_accuracy"] > 0.3  # by chance 0.1


def test_a_prepared_tfds_set_is_the_files_it_was_made_of(trainer, tmp_path):
    """The same numbers, bit by bit; a run of the one goes on with the other."""
    idx, place = tmp_path / "idx", tmp_path / "set/fashion_mnist/3.0.1"
    cut(idx, 3000, 1003, fashion_mnist())
    command = ("data.prepare", f"--data-dir={tmp_path}/set", "--idx-dir", idx)
    done = trainer.tool(*command, "--name=fashion_mnist")
    assert (done.code, done.out, done.err) == (0, f"Prepared {place}\n", "")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["fashion_mnist"]
    flags = [*SMALL, "--validation_size=500", "--log_interval=1", "--max_steps=45"]
    ours = trainer(*flags, f"--data_dir={idx}")
    theirs = trainer(*flags, "--dataset=fashion_mnist", f"--data_dir={tmp_path}/set")
    assert theirs.code == 0, theirs.err
    assert (
        f"Data: TFDS fashion_mnist/3.0.1 ({place}): 2500 train, 500 validation, 1003 test, "
        "28x28x1, 10 classes (T-shirt/top to Ankle boot).\n" in theirs.out
    )
    assert theirs.result()["data"] == ours.result()["data"]  # of all pixels, labels and the split
    metrics = (ours.folder / "out/metrics.jsonl").read_bytes()
    assert (theirs.folder / "out/metrics.jsonl").read_bytes() == metrics
    again = trainer(*flags, f"--data_dir={idx}", folder=theirs.folder)
    assert "This run is finished (max_steps, global step 45)." in again.out

    before = {path: path.read_bytes() for path in place.iterdir()}
    refused = trainer.tool(*command, "--name=fashion_mnist").refused()
    assert f"{place} is there already; remove it, or give another --data_dir" in refused
    assert {path: path.read_bytes() for path in place.iterdir()} == before


def test_the_model_fits_the_data(trainer, tmp_path):
    """Cut from MNIST: 11x7 images of 3 classes, odd sides in each pool; scored as NumPy does."""
    for part, count in (("train", 90), ("t10k", 35)):
        images, labels = (array[:count] for array in reference.mnist(part))
        images, labels = images[:, 8:19, 10:17, 0], labels % 3
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    assert {path.name for path in tmp_path.iterdir()} == set(sources.IDX_FILES)
    run = trainer(*SMALL, f"--data_dir={tmp_path}", "--kernel_size=3", "--validation_size=9",
                  "--batch_size=10", "--epochs=3")  # fmt: skip
    assert run.code == 0, run.err
    assert run.result()["steps"] == 3 * 9  # of 81 images, the last batch of one
    # 11x7 -> 9x5 -> 5x3 -> 3x1 -> 2x1
    parameters = (9 * 2 + 2) + (9 * 2 * 4 + 4) + (8 * 16 + 16) + (16 * 3 + 3)
    assert run.result()["parameters"] == parameters
    weights = {
        name.removeprefix("model/"): array.astype(float)
        for name, array in trainer.weights(run.folder / "ck/ckpt-27").items()
    }
    logits, _ = reference.forward(weights, images[..., np.newaxis])
    assert run.result()["test_accuracy"] == np.mean(logits.argmax(1) == labels)
    assert run.result()["test_loss"] == pytest.approx(
        reference.losses(logits, labels).mean(), rel=0, abs=1e-5
    )
