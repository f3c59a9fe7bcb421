"""The progress bar, on a pseudo-terminal as a user has one; beside the notebook's lines."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from tests.process.trainer import ROOT, TRAIN, environment, folders


def seen_on_a_terminal(command, columns=120):
    """Runs a command with its standard output on a terminal: what was written there, its code."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(command, stdout=inner, stderr=inner, cwd=ROOT, env=environment())
    os.close(inner)
    parts = []
    try:
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    except OSError:  # how Linux ends a terminal whose other side is closed
        pass
    finally:
        os.close(terminal)
        process.wait(timeout=60)
    return b"".join(parts).decode(), process.returncode


def left_of(text):
    """What stands at last in each line: a carriage return begins it anew."""
    return [line.rstrip("\r").split("\r")[-1] for line in text.split("\n")]


def test_the_bar(tmp_path, small):
    text, code = seen_on_a_terminal([*TRAIN, *small, "--epochs=2", *folders(tmp_path)])
    assert code == 0, text
    lines = left_of(text)
    heads = [f"Batch #{batch}\tLoss: " for batch in (0, 10, 20, 30)]
    heads += ["Train time for epoch #", "Validation set: ", "Test set: "]
    assert [line for line in lines if line.startswith(tuple(heads))] == [
        line for line in lines[3:] if line.strip()
    ], "a bar is left, or has broken a line"
    assert sum(line.startswith("Batch #") for line in lines) == 8

    bars = [part.strip() for part in re.split(r"[\r\n]+", text) if part.startswith("step ")]
    form = r"step (\d+)/80 \|[^|]{20}\|(, loss \d\.\d{4}(, [\d,]+ images/s)?)?, (\?|[\d:]+) left"
    found = [re.fullmatch(form, bar) for bar in bars]
    assert all(found), bars
    steps = [int(bar[1]) for bar in found]
    assert steps[0] == 0
    assert steps[-1] == 80
    assert steps == sorted(steps)
    assert any(bar[3] for bar in found)


def test_an_error_takes_the_bar_away(tmp_path, small):
    text, code = seen_on_a_terminal([*TRAIN, *small, "--lr=1e9", *folders(tmp_path)])
    assert code == 1, text
    assert "step 0/400 |" in text
    last = [line for line in left_of(text) if line.strip()][-1]
    assert last.startswith("mnist_dist: worker 0 ")
