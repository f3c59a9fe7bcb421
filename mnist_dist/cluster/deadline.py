"""MeetingDeadline for other workers: until the time is over, or this worker is told to stop."""

import socket
import sys
import time
from collections.abc import Callable

from mnist_dist.cluster.peer import Deadline
from mnist_dist.errors import LONGEST, ToldToStop, shorten

RETRY_S = 0.1
NOTICE_S = 5.0  # after which what is waited for is said
LOOK_UP_S = 60.0  # that a look-up, or an attempt to connect, may take


class MeetingDeadline:
    """The time that the others have to come.

    Args:
        name: this worker's, for messages.
        seconds: that they have, together.
        told: name of the signal that told this worker to stop; empty as long as there was none.

    Attributes:
        seconds: the argument.
        countdown: what is left of them.
    """

    def __init__(self, name: str, seconds: float, told: Callable[[], str]) -> None:
        self.seconds = seconds
        self.countdown = Deadline(seconds)
        self._name, self._told = name, told
        self._said = set[str]()

    def over(self, whom: str) -> bool:
        """Whether the time is over; `whom` is waited for.

        Raises:
            ToldToStop: this worker was told to stop; whoever did knows why the others don't come.
        """
        if self._told():
            raise ToldToStop(
                f"{self._name}: told to stop by {self._told()} while waiting for {whom}"
            )
        return self.countdown.left(LOOK_UP_S) <= 0

    def cut(self, seconds: float) -> None:
        """Waits no longer than that from now on."""
        self.countdown = Deadline(min(self.countdown.left(), seconds))

    def for_name(self, worker: str, host: str, error: socket.gaierror) -> bool:
        """Waits a moment for a name that isn't known yet; False once the time is over.

        A node that was just made, or a container, gets its name after its first process.
        """
        if self.over(f"the name of {worker}, '{host}'"):
            return False
        if self.seconds - self.countdown.left() > NOTICE_S:
            self.say(
                f"host '{host}' of {worker} can't be found yet ({error.strerror}); trying on, "
                f"{self.seconds:g} s in all"
            )
        time.sleep(RETRY_S)
        return True

    def say(self, text: str) -> None:
        """A line for the log, the same one once only."""
        if text not in self._said:
            self._said.add(text)
            print(
                f"mnist_dist: {self._name}: {shorten(text, LONGEST)}", file=sys.stderr, flush=True
            )
