"""Runs that are used in several ways."""

import pytest


@pytest.fixture(scope="session")
def rich(trainer, small):
    """All that changes which weights count: averages, and a best step that isn't the last."""
    flags = ("--batch_norm", "--residual", "--ema=0.9", "--patience=2", "--min_delta=0.5")
    run = trainer(*small, *flags, "--epochs=4", "--monitor=validation_accuracy")
    assert run.code == 0, run.err
    assert (run.result()["steps"], run.result()["stopped"]) == (120, "patience")
    return run


@pytest.fixture(scope="session")
def reader(trainer):
    """A small network that has seen MNIST once, and reads."""
    flags = ("--no_gpu", "--conv_filters=8,16", "--kernel_size=3", "--dense_units=64")
    recipe = ("--optimizer=adam", "--lr=0.004", "--schedule=onecycle", "--batch_size=128")
    run = trainer(*flags, *recipe, "--epochs=1", "--dropout=0.2", "--log_interval=0")
    assert run.code == 0, run.err
    assert run.result()["test_accuracy"] > 0.97
    return run
