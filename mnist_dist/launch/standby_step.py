"""The standby of the supervisor on another node: started here, and kept informed."""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_dist.launch.slurm_job import overlapping, plain

BEAT_S = 2.0
END_S = 5.0


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
        self._state: dict[str, Any] = {}
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.host = ""

    @property
    def alive(self) -> bool:
        """Whether its step runs, as far as this node knows."""
        return self._process is not None and self._process.poll() is None

    def start(self, host: str, state: Mapping[str, Any]) -> None:
        """Starts it on a host, in the place of an earlier one.

        Args:
            host: one that answers.
            state: what it has to know to take over (JSON).
        """
        self.close(at_once=True)
        self.host = host
        self.update(state)
        self._process = subprocess.Popen(
            [*overlapping(self._job, host), *self._command],
            env=plain(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self._ending = threading.Event()
        arguments = (self._process, self._ending)
        self._thread = threading.Thread(target=self._beat, args=arguments, daemon=True)
        self._thread.start()

    def update(self, state: Mapping[str, Any]) -> None:
        """Changes what it knows."""
        sent = {name: text for name, text in self._environment.items() if "SLURM" in name}
        self._state = {**state, "environment": sent}

    def close(self, at_once: bool = False) -> None:
        """Ends it.

        Args:
            at_once: its node may not answer; don't wait for its step.
        """
        if self._process is None or self._thread is None:
            return
        self._ending.set()
        self._thread.join(END_S)
        try:
            self._process.wait(0 if at_once else END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _beat(self, process: subprocess.Popen[bytes], ending: threading.Event) -> None:
        """Writes to its standard input until it is to end; the last line says so."""
        if process.stdin is None:
            return
        sent: dict[str, Any] = {}
        while not ending.is_set():
            line = {} if sent is self._state else self._state
            sent = self._state
            _write(process.stdin.fileno(), line)
            ending.wait(BEAT_S)
        _write(process.stdin.fileno(), {"end": True})
        with contextlib.suppress(OSError):
            process.stdin.close()


def _write(pipe: int, line: Mapping[str, Any]) -> None:
    # A pipe that is full has lost its reader: the standby's node is gone.
    with contextlib.suppress(OSError):
        os.write(pipe, json.dumps(line).encode() + b"\n")
