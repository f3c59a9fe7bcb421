"""Watches a run's workers, wherever they were started: passes signals on, ends them together."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn, Protocol

from mnist_dist.errors import (
    EXIT_FAILED,
    EXIT_SAVED,
    EXIT_USAGE,
    EXIT_WRONG_BITS,
    RunError,
    ToldToStop,
    listing,
)
from mnist_dist.launch.accusation import Accusation
from mnist_dist.launch.decision import End, How, how

POLL_S = 0.05
KNOWN_S = 2.0
"""The longest that a silent worker, which the others gave up, may take to end."""

DONE_S = 180.0
"""How long the others may take to end when one is done; then they are killed.

Otherwise the launcher would wait forever for a worker whose connection hangs.
"""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Worker(Protocol):
    """A worker that was started."""

    @property
    def host(self) -> str:
        """The host on which it runs."""

    @property
    def lost_code(self) -> int | None:
        """The exit code that means that its host was lost; None if there is none."""

    @property
    def accused(self) -> Accusation | None:
        """The worker that this one has given up, by its last line on standard error."""

    def poll(self) -> int | None:
        """Returns the exit code as of `subprocess`, or None while it runs."""

    def send(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""

    def kill(self) -> None:
        """Kills it and all processes that it has started, orphaned ones too."""

    def close(self) -> None:
        """Waits until all of its output is printed."""


class Workers:
    """The workers of a run, started together as often as needed.

    From its construction on, signals to this process are passed on to the workers.

    Args:
        launcher: its name, for messages.
        grace_s: seconds in which the others end after one has failed; then they are killed. A
            worker that fell silent has KNOWN_S.
    """

    def __init__(self, launcher: str, grace_s: float) -> None:
        self._launcher, self._grace_s = launcher, grace_s
        self._signal_number, self._interrupts, self._first_failed = 0, 0, -1
        self._interruptible = False
        self._workers: Sequence[Worker] = ()
        self._codes = list[int]()
        self._accused: Accusation | None = None  # a silent worker, by the first that failed
        self._silent = set[int]()  # ranks that were killed after the grace
        for name in SIGNALS:  # before the first start, so that no worker is left behind
            if name != signal.SIGHUP or signal.getsignal(name) != signal.SIG_IGN:  # nohup
                signal.signal(name, self._receive)

    @property
    def stop_requested(self) -> bool:
        """Whether this process has received a signal to stop."""
        return self._signal_number != 0

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it no worker runs that could receive a signal, so a signal ends this process.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            ToldToStop: another signal to stop.
        """
        self._interruptible = True
        try:
            if self.stop_requested:
                self._interrupt()
            yield
        finally:
            self._interruptible = False
            if self.stop_requested:  # Python drops what is raised during a fork or a finalizer
                self._interrupt()

    def run(self, start: Callable[[], Sequence[Worker]]) -> int:
        """Starts the workers and waits until all have ended.

        Args:
            start: returns them by rank.

        Returns:
            The exit code of the first worker that failed, or 0; 1 for one whose host was lost.
            EXIT_WRONG_BITS if any worker ended with it, since the others then end with 1.

        Raises:
            RunError: they can't be started.
        """
        self._first_failed, self._accused, self._silent, self._workers = -1, None, set(), ()
        try:
            self._workers = start()
        except OSError as error:
            raise RunError(f"{self._launcher}: the workers can't be started: {error}") from error
        if self.stop_requested:
            self._send(self._signal_number)
        self._wait()
        self._codes = [worker.poll() or 0 for worker in self._workers]
        ended = [
            EXIT_FAILED if code == worker.lost_code else exit_code(code)
            for worker, code in zip(self._workers, self._codes, strict=True)
        ]
        if self._first_failed < 0:  # they ended between two looks
            self._first_failed = ended.index(max(ended))
        return EXIT_WRONG_BITS if EXIT_WRONG_BITS in ended else ended[self._first_failed]

    def ends(self) -> list[End]:
        """How each worker ended.

        One that hung counts as silent. One that was killed because another had failed counts as
        failed, or as silent if its host may be to blame.
        """
        return [
            End(rank, worker.host, self._how(rank, worker, code))
            for rank, (worker, code) in enumerate(zip(self._workers, self._codes, strict=True))
        ]

    def _how(self, rank: int, worker: Worker, code: int) -> How:
        if code == worker.lost_code:
            return How.LOST
        if rank in self._silent and worker.lost_code is not None:
            return How.SILENT
        way = how(code)
        accused = self._accused is not None and rank == self._accused.rank
        if accused and way in (How.FAILED, How.KILLED, How.SAVED):
            return How.SILENT
        return How.FAILED if way is How.KILLED and rank != self._first_failed else way

    def _wait(self) -> None:
        deadline, said = float("inf"), False
        while None in (codes := [worker.poll() for worker in self._workers]):
            failed = [rank for rank, code in enumerate(codes) if code]
            if failed and self._first_failed < 0:
                self._first_failed = failed[0]
                deadline = time.monotonic() + self._grace_s
                self._end_others(failed[0], codes[failed[0]] or 0)
            running = [rank for rank, code in enumerate(codes) if code is None]
            if self._accused and running == [self._accused.rank]:
                deadline = min(deadline, time.monotonic() + KNOWN_S)
            if 0 in codes and self._first_failed < 0:
                deadline = min(deadline, time.monotonic() + DONE_S)
            if time.monotonic() > deadline or self._interrupts > 2:  # see training/stop.py
                if running and not said:
                    self._say(f"{self._names(running)} didn't end: killed")
                    said = True
                self._silent |= set(running)
                for worker in self._workers:
                    worker.kill()
            time.sleep(POLL_S)
        for worker in self._workers:
            worker.kill()  # what it started and left, which would hold its output open
        for worker in self._workers:
            worker.close()

    def _end_others(self, rank: int, code: int) -> None:
        """Tells the others to stop after a worker has failed, and says why."""
        worker = self._workers[rank]
        worker.kill()  # what it has started, which would hold its output open
        worker.close()  # so that its last line is read
        if worker.accused and worker.accused.silent:
            self._accused = worker.accused
        if code != EXIT_SAVED:
            self._say_end(rank, code)
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)  # a stopped one would receive nothing

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._signal_number = number
        self._interrupts += number == signal.SIGINT
        if self._interruptible:
            self._interrupt()
        self._send(number)

    def _interrupt(self) -> NoReturn:
        if self._signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        name = signal.Signals(self._signal_number).name
        raise ToldToStop(f"{self._launcher} was told to stop by {name} while no worker was running")

    def _send(self, number: int) -> None:
        for worker in self._workers:
            worker.send(number)

    def _say_end(self, rank: int, code: int) -> None:
        """Names who failed first, which may have had no time to say anything."""
        if code == EXIT_USAGE:  # it has said why, in a line
            return
        worker = self._workers[rank]
        end = f"ended with exit code {code}"
        if self._accused:
            rank, end = self._accused.rank, f"(host {self._accused.host}) fell silent"
        elif code == worker.lost_code:
            end = f"on host {worker.host} was lost"
        elif exit_code(code) - 128 in set(signal.Signals):  # over ssh, too
            end = f"was ended by {signal.Signals(exit_code(code) - 128).name}"
        self._say(f"worker {rank} {end}; the others are told to stop")

    def _names(self, ranks: Sequence[int]) -> str:
        """Workers for a message, the first few of many."""
        listed = listing([f"{rank} ({self._workers[rank].host})" for rank in ranks])
        return f"worker{'s' * (len(ranks) > 1)} {listed}"

    def _say(self, text: str) -> None:
        print(f"{self._launcher}: {text}", file=sys.stderr, flush=True)


def exit_code(returncode: int) -> int:
    """A process's end as a shell says it: 128 and the signal's number if there was one."""
    return 128 - returncode if returncode < 0 else returncode
