"""Signals are remembered, Ctrl-C is answered. Each in a process of its own."""

import subprocess
import sys

import pytest

# Sends itself the signals of the command line and says what was remembered after each.
CODE = """
import os, signal, sys
from mnist_dist.training.stop import Stop
stop = Stop()
assert stop.signal_name == ""
stop.listen()
stage = stop.during(sys.argv[1])
stage.__enter__()
for name in sys.argv[2:]:
    try:
        os.kill(os.getpid(), getattr(signal, name))
        print(stop.signal_name)
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
"""


def said(*signals, stage="training"):
    command = [sys.executable, "-c", CODE, stage, *signals]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"])
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


def test_nohup_is_respected():
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + CODE
    command = [sys.executable, "-c", code, "training", "SIGHUP", "SIGTERM"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "\nSIGTERM\n", done.stderr


# Its main thread is in one long call that runs no handler, while Ctrl-C is pressed; each press
# waits for the answer to the one before, since the kernel merges pending signals of one kind.
BUSY = """
import ctypes, os, signal, sys, threading, time
from mnist_dist.training import stop as module
module.GRACE_S = float(sys.argv[3])
stop, answered = module.Stop(), threading.Semaphore(0)
def say(text):
    print(text, flush=True)
    answered.release()
stop.say = say
stop.listen()
signal.siginterrupt(signal.SIGINT, False)
reader, _ = os.pipe()
def press():
    call = f"/proc/{os.getpid()}/syscall"  # of the main thread: its number and arguments
    while open(call).read().split()[1:2] != [hex(reader)]:
        time.sleep(0.01)
    for _ in range(int(sys.argv[2])):
        os.kill(os.getpid(), signal.SIGINT)
        answered.acquire()
threading.Thread(target=press, daemon=True).start()
with stop.during(sys.argv[1]):
    ctypes.CDLL(None).read(reader, ctypes.create_string_buffer(1), 1)  # for ever
"""


@pytest.mark.parametrize(
    ("stage", "presses", "grace_s"),
    [("training", 2, 0.1), ("training", 3, 60), ("a save", 3, 0.1), ("a save", 4, 60)],
)
def test_ctrl_c_within_one_call_of_the_graph_ends_the_process(stage, presses, grace_s):
    """After a moment, or at once if it is pressed again."""
    command = [sys.executable, "-c", BUSY, stage, str(presses), str(grace_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stdout.count("leaving without saving\n") == 1
    assert done.stderr == "mnist_dist: interrupted; what was saved before is left\n"


def test_an_answer_that_cannot_be_printed_delays_nothing():
    code = BUSY.replace(
        "    print(text, flush=True)\n    answered.release()",
        ("    answered.release()\n    threading.Event().wait()"),
    )
    command = [sys.executable, "-c", code, "training", "2", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130


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
