"""Training and evaluation against the same network in NumPy.

Tolerances, for float32 (u = 2^-24 = 6e-8) against float64: a sum of n terms is off by about
sqrt(n) u of its size, with the longest sums of 1,024 terms 2e-6, and four layers follow each
other: 1e-5 of a loss of 2.3 is what rounding may come to. A sum that lacks one of 64 images,
another dropout mask or another order changes a loss by 1e-3 and more.
"""

import numpy as np
import pytest

from mnist_dist.data.order import Order
from tests.process.network import numpy_network as reference
from tests.process.trainer import SMALL

STEPS, SEED, BATCH, HELD_OUT = 20, 5, 64, 500
LOSS_TOLERANCE = 2e-5


def model_of(variables):
    return {
        name.removeprefix("model/"): array.astype(np.float64)
        for name, array in variables.items()
        if name.startswith("model/")
    }


@pytest.fixture(scope="module")
def steps(trainer, subset):
    """The notebook's network as it is by default, with the weights before each step, and after."""
    flags = ["--no_gpu", f"--data_dir={subset}", f"--validation_size={HELD_OUT}"]
    flags += [f"--seed={SEED}", "--log_interval=1"]
    begun = trainer(*flags, "--lr=0", "--max_steps=1")  # its weights are the initial ones
    run = trainer(
        *flags, f"--max_steps={STEPS}", "--checkpoint_every_steps=1", f"--keep_checkpoints={STEPS}"
    )
    assert (begun.code, run.code) == (0, 0), begun.err + run.err
    found = [begun.folder / "ck/ckpt-1"]
    found += [run.folder / f"ck/ckpt-{step}" for step in range(1, STEPS + 1)]
    return run, [model_of(trainer.weights(path)) for path in found]


@pytest.fixture(scope="module")
def batches():
    """Images, labels and dropout's factors of each step."""
    images, labels = (array[:3000] for array in reference.mnist("train"))
    order = Order(SEED, len(labels) - HELD_OUT, BATCH)
    found = []
    for step in range(STEPS):
        ids = HELD_OUT + order.permutation(0)[step * BATCH : (step + 1) * BATCH]
        found.append((images[ids], labels[ids], reference.dropout(SEED, step, BATCH, 1024, 0.5)))
    return found


def test_the_first_losses(steps, batches):
    run, weights = steps
    assert {name: array.shape for name, array in weights[0].items()} == {
        **{"conv1/kernel": (5, 5, 1, 32), "conv1/bias": (32,)},
        **{"conv2/kernel": (5, 5, 32, 64), "conv2/bias": (64,)},
        **{"dense1/kernel": (1024, 1024), "dense1/bias": (1024,)},
        **{"logits/kernel": (1024, 10), "logits/bias": (10,)},
    }
    assert [line["step"] for line in run.metrics("train")] == list(range(1, STEPS + 1))
    for line, before, (images, labels, kept) in zip(
        run.metrics("train"), weights, batches, strict=False
    ):
        assert 0.45 < np.count_nonzero(kept) / kept.size < 0.55
        logits, _ = reference.forward(before, images, kept)
        assert line["loss"] == pytest.approx(
            reference.losses(logits, labels).mean(), rel=0, abs=LOSS_TOLERANCE
        )
        assert line["accuracy"] == np.mean(logits.argmax(1) == labels)


def test_the_first_updates(steps, batches):
    """Momentum SGD: v = 0.5 v - 0.01 g, w = w + v, through all layers and three steps.

    A weight is below 1, so float32 keeps it to 6e-8 a step; an update is about 1e-4.
    """
    _, weights = steps
    ours = {name: array.copy() for name, array in weights[0].items()}
    speed = dict.fromkeys(ours, 0.0)
    for step in range(3):
        for name, gradient in reference.gradients(ours, *batches[step]).items():
            speed[name] = 0.5 * speed[name] - 0.01 * gradient
            ours[name] += speed[name]
        for name, array in ours.items():
            moved = np.abs(weights[step + 1][name] - weights[step][name]).max()
            assert np.abs(weights[step + 1][name] - array).max() < min(3e-7, moved / 50), name


@pytest.fixture(scope="module")
def trained(trainer):
    run = trainer(*SMALL, "--max_steps=60", "--lr=0.1")
    assert run.code == 0, run.err
    return run, model_of(trainer.weights(run.folder / "ck/ckpt-60"))


def test_the_evaluation_of_all_10000_images(trained):
    run, weights = trained
    images, labels = reference.mnist("t10k")
    parts = [reference.forward(weights, images[i : i + 500])[0] for i in range(0, 10000, 500)]
    logits = np.concatenate(parts)
    losses, predictions = reference.losses(logits, labels), logits.argmax(1)
    result = run.result()
    assert result["test_accuracy"] == np.mean(predictions == labels)
    assert result["test_accuracy"] > 0.3  # it has learnt something, in 60 steps
    assert result["test_loss"] == pytest.approx(losses.mean(), rel=0, abs=LOSS_TOLERANCE)
    with np.load(run.folder / "out/predictions.npz") as saved:
        np.testing.assert_array_equal(saved["label"], labels)
        np.testing.assert_array_equal(saved["prediction"], predictions)
        np.testing.assert_allclose(saved["loss"], losses, rtol=1e-5, atol=LOSS_TOLERANCE)
        index = saved["mistake_index"]
        np.testing.assert_array_equal(saved["mistake_image"], images[index])
    wrong = losses[predictions != labels]
    np.testing.assert_allclose(losses[index], np.sort(wrong)[::-1][:48], rtol=1e-5)


def test_the_evaluation_of_the_held_out_images(trained):
    run, weights = trained
    images, labels = (array[:5000] for array in reference.mnist("train"))
    parts = [reference.forward(weights, images[i : i + 500])[0] for i in range(0, 5000, 500)]
    logits = np.concatenate(parts)
    result = run.result()
    assert result["validation_accuracy"] == np.mean(logits.argmax(1) == labels)
    assert result["validation_loss"] == pytest.approx(
        reference.losses(logits, labels).mean(), rel=0, abs=LOSS_TOLERANCE
    )


def test_the_evaluation_does_not_depend_on_the_batch(trainer, small):
    """1,003 images, the last block of 3; a rate of 0 leaves all with the same weights."""
    runs = [trainer(*small, "--lr=0", "--max_steps=1", f"--batch_size={n}") for n in (7, 64, 2500)]
    found = [(run.result()["test_loss"], run.result()["test_accuracy"]) for run in runs]
    assert len(set(found)) == 1
    weights = model_of(trainer.weights(runs[0].folder / "ck/ckpt-1"))
    images, labels = (array[:1003] for array in reference.mnist("t10k"))
    logits, _ = reference.forward(weights, images)
    assert found[0][0] == pytest.approx(
        reference.losses(logits, labels).mean(), rel=0, abs=LOSS_TOLERANCE
    )
    assert found[0][1] == np.mean(logits.argmax(1) == labels)
