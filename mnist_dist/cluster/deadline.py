"""Deadlines that a suspension of this process does not use up."""

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mnist_dist.errors import LONGEST, ToldToStop, shorten

TICK_S = 0.1  # between two readings of the clock
MOST_S = 1.0  # that counts between two readings; a longer gap is a suspension
ROUND_S = 0.25  # between two looks at the deadline and at the signals
RETRY_S = 0.1
NOTICE_S = 5.0  # after which the log says what this worker waits for
MOST_LINES = 50  # that a meeting adds to the log

T = TypeVar("T")


class Clock:
    """Counts the seconds in which this process ran.

    A process that was stopped (`scontrol suspend`, SIGSTOP, a debugger) heard nobody in the
    meantime, so that time must not count as silence of the others.

    It is right as long as `run` runs.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._read = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the clock was made."""
        now = time.monotonic()
        self._seconds += min(now - self._read, MOST_S)
        self._read = now
        return self._seconds

    async def run(self) -> None:
        """Reads the clock often, without end."""
        while self.seconds >= 0:
            await asyncio.sleep(TICK_S)


class Deadline:
    """A number of seconds from now, by a clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._end_s = clock.seconds + seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left; negative after the deadline."""
        return self._end_s - self._clock.seconds

    async def reached_before(self, future: asyncio.Future[T]) -> bool:
        """Waits for a future; returns whether the deadline comes first."""
        while not future.done():
            if self.left_s <= 0:
                return True
            await asyncio.wait({future}, timeout=ROUND_S)
        return False


class MeetingDeadline:
    """The time by which all workers must be connected. Every wait of the meeting goes through it.

    Args:
        name: this worker's name, for messages.
        seconds: from now on.
        clock: measures them.
        stop_signal: returns the name of the signal that asked this process to stop, or "".

    Attributes:
        seconds: the argument.
        clock: the argument.
    """

    def __init__(
        self, name: str, seconds: float, clock: Clock, stop_signal: Callable[[], str]
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self._deadline = Deadline(clock, seconds)
        self._name, self._stop_signal = name, stop_signal
        self._lines = set[str]()

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self._deadline.left_s, 0.0)

    def over(self, awaited: str) -> bool:
        """Returns whether the time is over.

        Args:
            awaited: the workers that this one waits for, for the message.

        Raises:
            ToldToStop: this process was asked to stop.
        """
        signal = self._stop_signal()
        if signal:
            raise ToldToStop(f"{self._name}: told to stop by {signal} while waiting for {awaited}")
        return self._deadline.left_s <= 0

    def shorten(self, seconds: float) -> None:
        """Ends the wait `seconds` from now, if it would end later."""
        self._deadline = Deadline(self.clock, min(self._deadline.left_s, seconds))

    async def within(self, awaitable: Awaitable[T], awaited: str, more_s: float = 0.0) -> T:
        """Waits for a result, and checks the time and the signals meanwhile.

        Args:
            awaitable: what to wait for.
            awaited: as in `over`.
            more_s: seconds after this deadline that are allowed.

        Raises:
            TimeoutError: the time is over.
            ToldToStop: as in `over`.
        """
        task = asyncio.ensure_future(awaitable)
        limit = Deadline(self.clock, self.left_s + more_s)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=ROUND_S)
                if done:
                    return task.result()
                self.over(awaited)
                if limit.left_s <= 0:
                    raise TimeoutError(f"no answer from {awaited}")
        finally:
            task.cancel()

    async def pause(self, seconds: float, awaited: str) -> None:
        """Waits for `seconds`, or until the time is over. Raises ToldToStop as `over` does."""
        end = Deadline(self.clock, seconds)
        while not self.over(awaited) and (seconds := end.left_s) > 0:
            await asyncio.sleep(min(seconds, ROUND_S))

    async def wait_for_name(self, worker: str, host: str, error: socket.gaierror) -> bool:
        """Waits a moment for a host name that isn't known yet; returns False after the deadline.

        The name of a new node or container may become known after its first process starts.
        """
        if self.over(f"the name of {worker}, '{host}'"):
            return False
        if self.seconds - self.left_s > NOTICE_S:
            self.log(
                f"host '{host}' of {worker} can't be found yet ({error.strerror}); trying on, "
                f"{self.seconds:g} s in all"
            )
        await asyncio.sleep(RETRY_S)
        return True

    def log(self, text: str) -> None:
        """Prints a line to standard error: the same one only once, and MOST_LINES in all."""
        if text in self._lines or len(self._lines) > MOST_LINES:
            return
        if len(self._lines) == MOST_LINES:
            text = "further lines like the above are left out"
        self._lines.add(text)
        print(f"mnist_dist: {self._name}: {shorten(text, LONGEST)}", file=sys.stderr, flush=True)
