"""The table of optimizers: one entry is all that a new one takes."""

import subprocess
import sys

import pytest

from mnist_dist.config import Config
from mnist_dist.optimizers import FLAGS, Optimizer


def test_flags_that_an_optimizer_does_not_read_keep_their_value():
    assert Config(optimizer="adam").momentum == FLAGS["momentum"]
    assert Config(optimizer="rmsprop").momentum == 0.0
    assert Config(optimizer="muon", momentum=0.5).momentum == 0.5


@pytest.mark.parametrize(
    "entry",
    [
        {"lr": 0.0, "flags": {}, "build": print},
        {"lr": 0.1, "flags": {"betta": 0.9}, "build": print},
        {"lr": 0.1, "flags": {}, "build": None},
        {"lr": 0.1, "flags": {}},
    ],
)
def test_an_incomplete_entry_fails_at_import(entry):
    with pytest.raises((ValueError, TypeError)):
        Optimizer(**entry)


ADDED = """
from mnist_dist import optimizers

optimizers.OPTIMIZERS["lion"] = optimizers.Optimizer(
    0.0002, {"beta_1": 0.95, "beta_2": 0.98}, lambda keras, flags: keras.Lion(**flags)
)
from mnist_dist import flags
from mnist_dist.report import settings
from mnist_dist.report.runs import Run

config = flags.parse(["--optimizer=lion"])
assert (config.lr, config.beta_1, config.beta_2, config.weight_decay) == (0.0002, 0.95, 0.98, 0.0)
words = " ".join(flags.help_text().split())
assert "|lion" in words
assert "for adam, adamw, muon, lion; default 0.9, lion 0.95" in words, words


def run(**changed):
    class Stub:
        config = flags.parse(["--optimizer=lion"]).as_dict() | changed
        result = {"num_replicas": 1, "num_workers": 1}

    return settings._decisive(Stub)


assert run(beta_1=0.9) != run(beta_1=0.5), "it reads beta_1"
assert run(rho=0.9) == run(rho=0.5), "it doesn't read rho"
"""


def test_an_added_optimizer_is_known_everywhere():
    """Flags, defaults and help; the report keeps runs with different values of what it reads."""
    done = subprocess.run([sys.executable, "-c", ADDED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
