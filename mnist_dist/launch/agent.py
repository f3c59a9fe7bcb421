"""Runs a worker on another host for ssh.sh: `python -m mnist_dist.launch.agent PROBE`.

It prints a line with the facts of its host. Then it reads its standard input: first a line of JSON
with the command to run, then signals to pass on, and empty lines that show that the launcher is
alive. If the input ends or is silent, the launcher is gone: the agent has the worker save and end,
and kills it if it doesn't. Its exit code is the worker's. The worker inherits the agent's outputs.
"""

from mnist_dist import exits

exits.begin(__name__)

import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mnist_dist import bounded
from mnist_dist.cluster import ports
from mnist_dist.devices import nvidia
from mnist_dist.errors import EXIT_FAILED
from mnist_dist.launch.processes import end_with, free_ports, kill_session
from mnist_dist.launch.workers import exit_code
from mnist_dist.run.versions import source_digest, versions

MARK = "mnist_dist-agent "
"""The first line begins with it. A login shell may print lines before."""
SEEN_S = 3.0  # for a file to show on a network file system
POLL_S = 0.05
MOST_BYTES = 2**22  # of a line


def main(argv: list[str]) -> int:
    """Runs the agent; returns the worker's exit code."""
    [probe] = argv
    print(f"{MARK}{json.dumps(facts(Path(probe)))}", flush=True)
    launcher = Launcher()
    order = launcher.order()
    if order is None:
        return EXIT_FAILED
    process = subprocess.Popen(
        [sys.executable, *order["command"]],
        env={**os.environ, **order["environment"]},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=functools.partial(end_with, os.getpid()),
    )
    try:
        _keep(process, launcher, float(order["silence_s"]))
    finally:
        kill_session(process.pid)
    return exit_code(process.wait())


def facts(probe: Path) -> dict[str, Any]:
    """The facts of this host that the launcher checks.

    Args:
        probe: a file that the launcher has made in the run's folder.
    """
    until = time.monotonic() + SEEN_S
    while not probe.exists() and time.monotonic() < until:
        time.sleep(POLL_S)
    return {
        "versions": {**versions(), "source": source_digest()},
        "python": sys.executable,
        "folder_seen": probe.exists(),
        "addresses": ports.own_addresses(),
        "port": free_ports(1)[0],
        "gpus": len(nvidia.cards()),
    }


class Launcher:
    """Reads what the launcher writes to standard input.

    Attributes:
        heard_s: when something last came, by the monotonic clock.
        gone: whether the input has ended.
    """

    def __init__(self) -> None:
        self.heard_s = time.monotonic()
        self.gone = False
        self._received = bytearray()

    def order(self) -> dict[str, Any] | None:
        """Waits for the command to run; None if the launcher needs no worker here."""
        while not self.gone:
            for line in self.lines(POLL_S):
                if line:
                    found = bounded.loads(line)
                    return found if isinstance(found, dict) else None
        return None

    def lines(self, seconds: float) -> list[str]:
        """Returns what has come, after at most `seconds`."""
        if not select.select([0], [], [], seconds)[0]:
            return []
        data = os.read(0, 2**16)
        self.gone = not data
        self.heard_s = time.monotonic()
        self._received += data
        if len(self._received) > MOST_BYTES:
            self.gone = True
        *whole, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        return [line.decode() for line in whole]


def _keep(process: "subprocess.Popen[bytes]", launcher: Launcher, silence_s: float) -> None:
    """Returns when the worker has ended.

    Args:
        process: the worker.
        launcher: says which signals to pass on.
        silence_s: after which the launcher counts as gone, and in which the worker then ends.
    """
    until = float("inf")
    while process.poll() is None:
        if launcher.gone or time.monotonic() - launcher.heard_s > silence_s:
            if until == float("inf"):
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # a stopped one would receive nothing
                until = time.monotonic() + silence_s
            time.sleep(POLL_S)
        else:
            for line in launcher.lines(POLL_S):
                if line == str(int(signal.SIGKILL)):
                    return
                if line:
                    process.send_signal(int(line))
        if time.monotonic() > until:
            return


if __name__ == "__main__":
    exits.end(main, needs_output=False)
