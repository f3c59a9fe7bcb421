"""Signals are remembered; a second Ctrl-C ends at once. Each in a process of its own."""

import subprocess
import sys

import pytest

# Sends itself the signals of the command line and says what was remembered after each.
CODE = """
import os, signal, sys
from mnist_dist.training.stop import Stop
stop = Stop()
assert stop.name == ""
stop.listen()
for name in sys.argv[1:]:
    try:
        os.kill(os.getpid(), getattr(signal, name))
        print(stop.name)
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
"""


def said(*signals):
    done = subprocess.run([sys.executable, "-c", CODE, *signals], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT"])
def test_remembered(name):
    assert said(name) == [name]


def test_the_first_is_the_reason():
    assert said("SIGUSR1", "SIGTERM", "SIGTERM", "SIGINT") == ["SIGUSR1"] * 4


def test_a_second_ctrl_c_ends_at_once():
    assert said("SIGINT", "SIGINT") == ["SIGINT", "KeyboardInterrupt"]
    assert said("SIGTERM", "SIGINT", "SIGINT") == ["SIGTERM", "SIGTERM", "KeyboardInterrupt"]


# The trainer's main, told twice while it reads the data, before anything else was started.
MAIN = """
import os, signal, sys
from mnist_dist import train

def load(config):
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)

train._load = load
sys.exit(train.main(["--no_gpu", *sys.argv[1:]]))
"""


def test_the_command_ends_with_one_line(tmp_path):
    command = [sys.executable, "-c", MAIN, f"--checkpoint_dir={tmp_path}/ck"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "still here\n"
    assert done.stderr == "mnist_dist: interrupted; the last checkpoint is what is left\n"
    assert done.returncode == 130
    assert not list(tmp_path.iterdir())
