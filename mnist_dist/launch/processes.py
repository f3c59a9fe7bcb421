"""Workers as processes of this machine: starts them, passes signals on, ends them together."""

import contextlib
import ctypes
import functools
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO

import psutil

from mnist_dist.cluster.ports import listen
from mnist_dist.cluster.topology import FIRST_PORT, LAST_PORT, TOKEN
from mnist_dist.devices import resources
from mnist_dist.errors import EXIT_SAVED, EXIT_USAGE
from mnist_dist.launch.decision import End, How, how

POLL_S = 0.05
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Workers:
    """The workers of a run, started together as often as needed.

    From its construction on, signals to this process are passed on to the workers.

    Args:
        command: run by each, with a TF_CONFIG of its own.
        number: of workers.
        grace_s: seconds in which the others end after one has failed; then they are killed.
    """

    def __init__(self, command: Sequence[str], number: int, grace_s: float) -> None:
        self._command, self._number, self._grace_s = command, number, grace_s
        self._signal_number, self._interrupts, self._first_failed = 0, 0, -1
        self._processes, self._readers = list[subprocess.Popen[str]](), list[threading.Thread]()
        for name in SIGNALS:  # before the first start, so that no worker is left behind
            if name != signal.SIGHUP or signal.getsignal(name) != signal.SIG_IGN:  # nohup
                signal.signal(name, self._receive)

    @property
    def stop_requested(self) -> bool:
        """Whether this process has received a signal to stop."""
        return self._signal_number != 0

    def run(self) -> int:
        """Starts the workers and waits until all have ended.

        Returns:
            The exit code of the first worker that failed, or 0.

        Raises:
            OSError: there are not enough free ports, or a worker can't be started.
        """
        self._processes, self._readers, self._first_failed = [], [], -1
        token = secrets.token_hex(16)  # which keeps other users' processes out
        addresses = [f"127.0.0.1:{port}" for port in free_ports(self._number)]
        for rank, cores in enumerate(resources.divide(resources.available_cores(), self._number)):
            task = {"type": "worker", "index": rank}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            self._processes.append(self._start(rank, {"TF_CONFIG": config, TOKEN: token}, cores))
        if self.stop_requested:
            self._send(self._signal_number)
        return self._wait()

    def ends(self, host: str) -> list[End]:
        """How each worker ended; one that was killed after another had failed counts as failed.

        Args:
            host: this machine's name in the result.
        """
        ways = [how(process.returncode) for process in self._processes]
        return [
            End(rank, host, How.FAILED if way is How.KILLED and rank != self._first_failed else way)
            for rank, way in enumerate(ways)
        ]

    def _wait(self) -> int:
        deadline = float("inf")
        while None in (codes := [process.poll() for process in self._processes]):
            failed = [rank for rank, code in enumerate(codes) if code]
            if failed and self._first_failed < 0:
                self._first_failed = failed[0]
                deadline = time.monotonic() + self._grace_s
                returncode = self._processes[failed[0]].returncode
                if returncode != EXIT_SAVED:
                    _say_end(failed[0], returncode)
                    self._send(signal.SIGTERM)
                    self._send(signal.SIGCONT)  # a stopped one would receive nothing
            if time.monotonic() > deadline or self._interrupts > 2:  # see training/stop.py
                self._kill()
            time.sleep(POLL_S)
        self._kill()  # what they started and left, which would hold their output open
        for reader in self._readers:
            reader.join()
        ended = [exit_code(process.returncode) for process in self._processes]
        if self._first_failed < 0:  # they ended between two looks
            self._first_failed = ended.index(max(ended))
        return ended[self._first_failed]

    def _start(
        self, rank: int, variables: dict[str, str], cores: set[int]
    ) -> subprocess.Popen[str]:
        before = resources.available_cores()
        resources.set_cores(cores)  # inherited: the worker has them from its first thread on
        process = subprocess.Popen(
            self._command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C comes to this process, which passes it on
            preexec_fn=functools.partial(_end_with, os.getpid()),
        )
        resources.set_cores(before)
        for stream, to in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            reader = threading.Thread(target=_prefix, args=(rank, stream, to), daemon=True)
            reader.start()
            self._readers.append(reader)
        return process

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._signal_number = number
        self._interrupts += number == signal.SIGINT
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def _kill(self) -> None:
        """Ends the processes of all workers, and what these have started, still theirs or not."""
        sessions = {process.pid for process in self._processes}
        for member in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                above = {parent.pid for parent in member.parents()}
                if os.getsid(member.pid) in sessions or above & sessions:
                    member.kill()


def _end_with(launcher: int) -> None:
    """Has Linux send this process SIGTERM when its launcher ends, even if that is killed."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:
            os._exit(128 + signal.SIGTERM)


def _say_end(rank: int, returncode: int) -> None:
    """Names who failed first, which may have had no time to say anything."""
    if returncode == EXIT_USAGE:  # it has said why, in a line
        return
    how = f"ended with exit code {returncode}"
    if returncode < 0:
        how = f"was ended by {signal.Signals(-returncode).name}"
    print(
        f"local.sh: worker {rank} {how}; the others are told to stop", file=sys.stderr, flush=True
    )


def exit_code(returncode: int) -> int:
    """A process's end as a shell says it: 128 and the signal's number if there was one."""
    return 128 - returncode if returncode < 0 else returncode


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody listens on, out of reach of outgoing connections.

    Raises:
        OSError: there are not as many.
    """
    found: list[int] = []
    candidates = iter(random.sample(range(FIRST_PORT, LAST_PORT), LAST_PORT - FIRST_PORT))
    while len(found) < number:
        port = next(candidates, None)
        if port is None:
            raise OSError(f"no {number} free ports from {FIRST_PORT} to {LAST_PORT}")
        try:
            listen(port).close()
        except OSError:
            continue
        found.append(port)
    return found


def _prefix(rank: int, stream: IO[str], to: IO[str]) -> None:
    for line in stream:
        to.write(f"[{rank}] {line}" if line.endswith("\n") else f"[{rank}] {line}\n")
        to.flush()
