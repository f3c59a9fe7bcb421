"""Runs that are used in several ways."""

import pytest


@pytest.fixture(scope="session")
def reader(trainer):
    """A small network that has seen MNIST once, and reads."""
    flags = ("--no_gpu", "--conv_filters=8,16", "--kernel_size=3", "--dense_units=64")
    recipe = ("--optimizer=adam", "--lr=0.004", "--schedule=onecycle", "--batch_size=128")
    run = trainer(*flags, *recipe, "--epochs=1", "--dropout=0.2", "--log_interval=0")
    assert run.code == 0, run.err
    assert run.result()["test_accuracy"] > 0.97
    return run
