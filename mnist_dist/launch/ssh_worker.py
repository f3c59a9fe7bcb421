"""A worker on another host: the connection by ssh, and the agent at its other end."""

import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.launch.accusation import Accusation, accusation
from mnist_dist.launch.agent import MARK
from mnist_dist.launch.processes import child, kill_session
from mnist_dist.launch.ssh_problems import NO_SETUP, difference, problem

SSH = ("-T", "-x", "-o", "BatchMode=yes")
ANSWER_S = 30.0  # from the start of ssh to the agent's first line
END_S = 2.0  # for the agent to kill its worker
BEAT_S = 1.0  # between two signs of life to an agent; less if it is less patient
BEATS = 4  # within the time after which an agent takes this process for gone
LOST = 255  # ssh's exit code when the connection is lost
MOST_LINES = 100  # of ssh's messages that are kept


class Remote(NamedTuple):
    """How to reach the hosts and what to run there.

    Attributes:
        ssh: the command, and options of it.
        python: the interpreter there, with the command in front of it if there is one.
        setup: file that a shell reads first there; empty for none.
        root: the folder that holds the package, there as here.
        command: of each worker, after the interpreter.
        folder: that all hosts have to share.
        peer_timeout_s: silence after which a worker counts as lost.
    """

    ssh: Sequence[str]
    python: Sequence[str]
    setup: str
    root: Path
    command: Sequence[str]
    folder: Path
    peer_timeout_s: float


class SshWorker:
    """A connection by ssh, and the worker at its other end once it is started.

    Args:
        host: to connect to.
        remote: how to connect, and what to run.
        options: further ones of ssh.
        probe: a file of this host that the other has to see.

    Attributes:
        host: the argument.
        facts: what the agent there says of its host.
        problem: why the host can't be used; empty if it can.
        accused: the worker that this one has given up.
    """

    lost_code = LOST

    def __init__(self, host: str, remote: Remote, options: Sequence[str], probe: Path) -> None:
        self.host, self.facts, self.problem = host, dict[str, Any](), ""
        self.accused: Accusation | None = None
        self._remote, self._prefix = remote, f"[{host}]"
        self._command = remote.command
        self._beat_s, self._every_s, self._killed_s = 0.0, BEAT_S, float("inf")
        self._errors = list[str]()
        self._answered = threading.Event()
        # The workers themselves notice a silent host first, and name it.
        alive_s = math.ceil(remote.peer_timeout_s / 3)
        alive = ("-o", f"ServerAliveInterval={alive_s}", "-o", "ServerAliveCountMax=3")
        command = [*remote.ssh, *SSH, *options, *alive, "--", host, script(remote, probe)]
        self._process = child(command, stdin=subprocess.PIPE)
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, sys.stdout)),
            threading.Thread(target=self._read, args=(self._process.stderr, sys.stderr)),
        ]
        for reader in self._readers:
            reader.daemon = True
            reader.start()

    def wait(self, until: float) -> None:
        """Waits for the agent's facts, and judges them.

        Args:
            until: reading of the monotonic clock after which the host counts as hung.
        """
        answered = self._answered.wait(max(until - time.monotonic(), 0.0))
        if self.facts:
            self.problem = difference(self.facts, self._remote.folder)
        elif answered:
            for reader in self._readers:
                reader.join(1.0)
            code = self._process.wait()
            self.problem = problem(code, self._errors, self._remote.python)
        else:
            self.problem = f"no answer within {ANSWER_S:g} s; look whether `ssh {self.host}` hangs"

    def start(self, rank: int, variables: Mapping[str, str], silence_s: float) -> None:
        """Starts the worker.

        Args:
            rank: its number.
            variables: of its environment.
            silence_s: after which the agent takes this process for gone.
        """
        self._prefix = f"[{rank} {self.host}]"
        self._every_s = min(BEAT_S, silence_s / BEATS)
        order = {"command": list(self._command), "environment": dict(variables)}
        self._write(json.dumps({**order, "silence_s": silence_s}))

    def poll(self) -> int | None:
        """As `Worker.poll`. Tells the agent that this process lives, too."""
        if time.monotonic() - self._beat_s > self._every_s:
            self._beat_s = time.monotonic()
            self._write("")
        return self._process.poll()

    def send(self, number: int) -> None:
        """As `Worker.send`."""
        self._write(str(int(number)))

    def kill(self) -> None:
        """As `Worker.kill`, by the agent; one that doesn't answer is hung up on."""
        if self._process.poll() is not None:
            return
        if self._killed_s == float("inf"):
            self._killed_s = time.monotonic()
            self.send(signal.SIGKILL)
        elif time.monotonic() - self._killed_s > END_S:
            self.hang_up()

    def hang_up(self) -> None:
        """Ends the connection; the agent at its other end ends its worker."""
        kill_session(self._process.pid)

    def close(self) -> None:
        """As `Worker.close`."""
        for reader in self._readers:
            reader.join()

    def _write(self, line: str) -> None:
        stream = self._process.stdin
        if stream is None or self._process.poll() is not None:
            return
        with contextlib.suppress(OSError):  # ssh has ended: its exit code says so
            stream.write(f"{line}\n")
            stream.flush()

    def _read(self, stream: IO[str] | None, to: IO[str]) -> None:
        for line in stream or ():
            if self.facts:
                self.accused = accusation(line) or self.accused
                to.write(f"{self._prefix} {line.rstrip()}\n")
                to.flush()
            elif to is sys.stdout and line.startswith(MARK):
                self.facts = _facts(line)
                self._answered.set()
            elif to is sys.stderr and len(self._errors) < MOST_LINES:
                self._errors.append(line.strip())
        self._answered.set()


def _facts(line: str) -> dict[str, Any]:
    try:
        found = bounded.loads(line.removeprefix(MARK))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def script(remote: Remote, probe: Path) -> str:
    """The shell command that starts the agent on the other host, in this process's folder."""
    here = shlex.quote(os.getcwd())
    path = f"{remote.root}{':' + os.environ['PYTHONPATH'] if os.environ.get('PYTHONPATH') else ''}"
    file = shlex.quote(remote.setup)
    setup = f"if [ -r {file} ]; then . {file}; else echo {NO_SETUP} >&2; exit 2; fi && "
    setup = setup if remote.setup else ""
    agent = shlex.join([*remote.python, "-u", "-m", "mnist_dist.launch.agent", str(probe)])
    lines = f"{setup}cd {here} && PYTHONPATH={shlex.quote(path)} exec {agent}"
    return f"exec sh -c {shlex.quote(lines)}"
