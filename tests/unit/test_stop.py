"""Signals are remembered; a second Ctrl-C ends at once. Each in a process of its own."""

import subprocess
import sys

import pytest

# Sends itself the signals of the command line and says what was remembered after each.
CODE = """
import os, signal, sys
from mnist_dist.stop import Stop
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
