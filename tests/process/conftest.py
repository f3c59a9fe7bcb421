"""What the trainings of several test modules share."""

import subprocess

import pytest

from tests.process.trainer import SMALL, Trainer, train


@pytest.fixture(scope="session")
def small(subset):
    """Flags of a small network on the subset: 40 steps an epoch, the last of 4 images."""
    return (*SMALL, f"--data_dir={subset}", "--validation_size=500")


@pytest.fixture(scope="session")
def trainer(tmp_path_factory, small):
    """Many trainings in one process.

    The first is in float32: TensorFlow then keeps oneDNN on, as in a process of its own.
    """
    made = Trainer(tmp_path_factory.mktemp("trainer"))
    first = made(*small, "--max_steps=1")
    assert first.code == 0, first.err
    yield made
    made.close()


@pytest.fixture(scope="session")
def base(tmp_path_factory, subset):
    """The command in a process of its own, two epochs, as an old command line spells it."""
    run = train(
        tmp_path_factory.mktemp("base"),
        *("--no-gpu", f"--data-dir={subset}", "--batch-size", "64", "--log-interval=10"),
        *("--conv_filters=2,4", "--dense_units=16", "--validation_size=500", "--epochs=2"),
        run=subprocess.run,
    )
    assert run.code == 0, run.err
    return run


@pytest.fixture(scope="session")
def every(trainer, small):
    """The same run in the trainer, with a line for each step."""
    run = trainer(*small, "--epochs=2", "--log_interval=1")
    assert run.code == 0, run.err
    return run


@pytest.fixture(scope="session")
def rich(trainer, small):
    """All that changes which weights count: averages, and a best step that isn't the last."""
    flags = ("--batch_norm", "--residual", "--ema=0.9", "--patience=2", "--min_delta=0.5")
    run = trainer(*small, *flags, "--epochs=4", "--monitor=validation_accuracy")
    assert run.code == 0, run.err
    assert (run.result()["steps"], run.result()["stopped"]) == (120, "patience")
    return run
