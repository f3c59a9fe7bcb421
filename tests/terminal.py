"""A pseudo-terminal for a command, as a user has one."""

import fcntl
import os
import pty
import struct
import subprocess
import termios


def on_a_terminal(command, columns=120, **options):
    """Runs a command with its standard output and error on a terminal, if not told otherwise.

    Returns:
        What was written there, what to a pipe (stdout=PIPE), and the exit code.
    """
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(command, **{"stdout": inner, "stderr": inner, **options})
    os.close(inner)
    parts = []
    try:
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    except OSError:  # how Linux ends a terminal whose other side is closed
        pass
    finally:
        os.close(terminal)
        piped = process.communicate(timeout=60)[0]
    return b"".join(parts).decode(), (piped or b"").decode(), process.returncode


def shown(text):
    """The lines as they stand in the end: what a carriage return begins anew covers the old."""
    lines = []
    for written in text.replace("\r\n", "\n").split("\n"):
        line = ""
        for part in written.split("\r"):
            line = part + line[len(part) :]
        lines.append(line.rstrip())
    return lines
