"""The standby of the supervisor on another node: started here, and kept informed."""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_dist.launch.slurm_job import overlapping, plain, say

BEAT_S = 2.0
END_S = 5.0
RETRY_S = 5.0
"""The pause before a standby that has ended is restarted; doubled each time."""

MOST_RETRY_S = 600.0
MANY = 3
"""The number of ended standbys after which the log says that there is none."""


class Standby:
    """A step of one task on another node, whose standard input gets a line every few seconds.

    Args:
        job: SLURM's number.
        command: that the task runs.
        environment: of the batch script; the first line carries SLURM's variables.
    """

    def __init__(self, job: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._job, self._command, self._environment = job, command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._hosts: Sequence[str] = ()
        self._state: dict[str, Any] = {}
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, hosts: Sequence[str], state: Mapping[str, Any]) -> None:
        """Keeps it running on one of the hosts, and sends it what it needs to take over.

        Args:
            hosts: that answer; none for no standby.
            state: of the run (JSON).
        """
        sent = {name: text for name, text in self._environment.items() if "SLURM" in name}
        self._state = {**state, "environment": sent}
        running = self._process is not None and self._process.poll() is None
        if running and self._hosts and self._hosts[0] in hosts:
            self._hosts = [self._hosts[0], *(host for host in hosts if host != self._hosts[0])]
            return
        self.close(at_once=True)
        self._hosts = list(hosts)
        if hosts:
            self._ending = threading.Event()
            self._process = self._start(hosts[0])
            self._thread = threading.Thread(target=self._beat, args=(self._ending,), daemon=True)
            self._thread.start()

    def close(self, at_once: bool = False) -> None:
        """Ends it.

        Args:
            at_once: its node may not answer; don't wait for its step.
        """
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._process is not None:
            try:
                self._process.wait(0 if at_once else END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._thread = None

    def _start(self, host: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*overlapping(self._job, host), *self._command],
            env=plain(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
        return process

    def _beat(self, ending: threading.Event) -> None:
        """Writes to its standard input until it is to end; the last line says so."""
        sent: dict[str, Any] = {}
        ended = 0
        while not ending.is_set():
            if self._process is None or self._process.poll() is not None:
                ended += 1
                if ended == MANY:
                    say(
                        "no standby can be started on another node: if this node is lost, the job "
                        "goes on idle until its time limit"
                    )
                if ending.wait(min(RETRY_S * 2**ended, MOST_RETRY_S)):
                    break
                self._hosts = [*self._hosts[1:], self._hosts[0]]
                self._process, sent = self._start(self._hosts[0]), {}
            _write(self._process, {} if sent is self._state else self._state)
            sent = self._state
            ending.wait(BEAT_S)
        if self._process is not None and self._process.stdin is not None:
            _write(self._process, {"end": True})
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def _write(process: subprocess.Popen[bytes], line: Mapping[str, Any]) -> None:
    # A pipe that is full or closed has lost its reader: the standby's node is gone.
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            os.write(process.stdin.fileno(), json.dumps(line).encode() + b"\n")
