"""Signals are remembered, Ctrl-C is answered. Each in a process of its own."""

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
stage = stop.during(sys.argv[1])
stage.__enter__()
for name in sys.argv[2:]:
    try:
        os.kill(os.getpid(), getattr(signal, name))
        print(stop.name)
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
"""


def said(*signals, stage="training"):
    command = [sys.executable, "-c", CODE, stage, *signals]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT"])
def test_remembered(name):
    assert said(name) == [name]


def test_the_first_is_the_reason():
    assert said("SIGUSR1", "SIGTERM", "SIGTERM", "SIGINT") == ["SIGUSR1"] * 4


def test_a_second_ctrl_c_leaves():
    assert said("SIGINT", "SIGINT") == ["SIGINT", "KeyboardInterrupt"]
    assert said("SIGTERM", "SIGINT", "SIGINT") == ["SIGTERM", "SIGTERM", "KeyboardInterrupt"]


def test_a_second_ctrl_c_waits_for_a_save_and_a_third_does_not():
    assert said("SIGINT", "SIGINT", "SIGINT", stage="a save") == [
        *("SIGINT", "SIGINT", "KeyboardInterrupt"),
    ]
    assert said("SIGINT", "SIGINT", stage="an evaluation") == ["SIGINT", "KeyboardInterrupt"]


# Its main thread is in a system call that no signal interrupts, as in a computation: no handler of
# Python's can run until it returns, which is when the answer was printed.
DEAF = """
import ctypes, os, signal, sys, threading, time
from mnist_dist.training.stop import Stop
stop, (reader, writer) = Stop(), os.pipe()
def say(text):
    print(text, flush=True)
    os.write(writer, b"x")
stop.say = say
stop.listen()
signal.siginterrupt(signal.SIGINT, False)
def press():
    os.kill(os.getpid(), signal.SIGINT)
libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(1)
with stop.during(sys.argv[1]):
    for number in range(int(sys.argv[2])):
        timer = threading.Timer(0.1, press)
        timer.start()
        try:
            libc.read(reader, buffer, 1)
            time.sleep(0)  # here a handler may run
        except KeyboardInterrupt:
            print("left")
stop.close()
"""


def answers(stage, presses):
    command = [sys.executable, "-c", DEAF, stage, str(presses)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_ctrl_c_is_answered_at_once():
    first = "stopping after a block, saving; again to leave without saving"
    assert answers("training", 2) == [first, "leaving without saving", "left"]
    assert answers("an evaluation", 1) == [
        "stopping after this evaluation, saving; again to leave without saving"
    ]
    assert answers("a save", 3) == [
        *(first, "stopping when this save is done; again to leave at once"),
        *("leaving without saving", "left"),
    ]


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
    assert done.stderr.splitlines() == [
        "mnist_dist: stopping after a block, saving; again to leave without saving",
        "mnist_dist: leaving without saving",
        "mnist_dist: interrupted; what was saved before is left",
    ]
    assert done.returncode == 130
    assert not list(tmp_path.iterdir())
