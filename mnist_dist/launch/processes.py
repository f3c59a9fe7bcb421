"""Starts workers as processes of this machine."""

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
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import psutil

from mnist_dist.cluster.address import FIRST_PORT, LAST_PORT
from mnist_dist.cluster.ports import listen
from mnist_dist.cluster.topology import TOKEN
from mnist_dist.devices import nvidia, resources
from mnist_dist.launch.accusation import Accusation, accusation

HOST = "localhost"
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class LocalStarter:
    """Starts workers here, as if they were on machines of their own.

    Each has a part of the cores and, if there are enough, of the GPUs.

    Args:
        command: run by each, with a TF_CONFIG of its own.
        number: of workers.
    """

    def __init__(self, command: Sequence[str], number: int) -> None:
        self._command, self._number = command, number

    def hosts(self, again: bool) -> list[str]:
        """The hosts that answer, one entry for each worker that may be started there."""
        del again
        return [HOST] * self._number

    def start(self, hosts: Sequence[str]) -> list["LocalWorker"]:
        """Starts a worker for each entry of `hosts`.

        Raises:
            OSError: there are not enough free ports, or a worker can't be started.
        """
        number = len(hosts)
        token = secrets.token_hex(16)  # which keeps other users' processes out
        addresses = [f"127.0.0.1:{port}" for port in free_ports(number)]
        cores = resources.divide(resources.available_cores(), number)
        gpus = _gpus(number)
        started = list[LocalWorker]()
        for rank in range(number):
            task = {"type": "worker", "index": rank}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            variables = {"TF_CONFIG": config, TOKEN: token, **gpus[rank]}
            started.append(LocalWorker(self._command, rank, variables, cores[rank]))
        return started


class LocalWorker:
    """A worker on this machine.

    Args:
        command: the worker's.
        rank: its number, which begins each line of its output.
        variables: of its environment, beside this process's own.
        cores: that it may use; empty for all.

    Attributes:
        accused: the worker that this one has given up.
    """

    host = HOST
    lost_code = None

    def __init__(
        self, command: Sequence[str], rank: int, variables: dict[str, str], cores: set[int]
    ) -> None:
        before = resources.available_cores()
        resources.set_cores(cores)  # inherited: the worker has them from its first thread on
        self._process = child(command, stdin=subprocess.DEVNULL, variables=variables)
        resources.set_cores(before)
        self.accused: Accusation | None = None
        streams = (self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr)
        self._readers = [prefixed(f"[{rank}]", *pair, self._heard) for pair in streams]

    def poll(self) -> int | None:
        """As `Worker.poll`."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """As `Worker.send`."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """As `Worker.kill`."""
        kill_session(self._process.pid)

    def close(self) -> None:
        """As `Worker.close`."""
        for reader in self._readers:
            reader.join()

    def _heard(self, line: str) -> None:
        self.accused = accusation(line) or self.accused


def child(
    command: Sequence[str], stdin: int, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts a process that gets SIGTERM when this one ends; its outputs are pipes of text.

    Args:
        command: the program and its arguments.
        stdin: subprocess.PIPE or DEVNULL.
        variables: of its environment, besides this process's own.
    """
    return subprocess.Popen(
        command,
        env={**os.environ, **(variables or {})},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C comes to this process, which passes it on
        preexec_fn=functools.partial(end_with, os.getpid()),
    )


def end_with(parent: int) -> None:
    """Has Linux send this process SIGTERM when its parent ends, even if that is killed.

    Args:
        parent: the process that has started this one.
    """
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)


def kill_session(leader: int) -> None:
    """Kills a process, its session, and all that these have started."""
    for member in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            above = {parent.pid for parent in member.parents()}
            if os.getsid(member.pid) == leader or leader in above:
                member.kill()


def prefixed(
    prefix: str, stream: IO[str] | None, to: IO[str], heard: Callable[[str], None]
) -> threading.Thread:
    """Copies lines in a thread, each with a prefix.

    Args:
        prefix: printed before each line, with a space.
        stream: is read to its end; None for a closed one.
        to: is written to.
        heard: gets each line.

    Returns:
        The thread, which ends with the stream.
    """

    def copy() -> None:
        for line in stream or ():
            heard(line)
            to.write(f"{prefix} {line}" if line.endswith("\n") else f"{prefix} {line}\n")
            to.flush()

    reader = threading.Thread(target=copy, daemon=True)
    reader.start()
    return reader


def _gpus(number: int) -> list[dict[str, str]]:
    """The variables that give each of a number of workers GPUs of its own, if there are enough."""
    cards = [card.uuid for card in nvidia.cards()]
    each = len(cards) // number
    if number == 1 or not each:
        return [{}] * number
    parts = (cards[each * rank : each * (rank + 1)] for rank in range(number))
    return [{"CUDA_VISIBLE_DEVICES": ",".join(part)} for part in parts]


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
