"""The main thread's handle on the other workers, and how a lost worker ends this process.

When a worker is lost, TensorFlow's collectives wait for it, for long or forever. So the event
loop's thread names the lost worker and its step, and ends the process.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from mnist_dist import exits
from mnist_dist.cluster.event_loop import EventLoop
from mnist_dist.cluster.group import BEAT_S, PARTING_S, Group
from mnist_dist.errors import EXIT_FAILED, EXIT_USAGE, LONGEST, RunError, shorten


class Meeting:
    """The workers of a run that have met. Its methods are for the main thread.

    Args:
        loop: in which the group's callbacks run.
        group: the connections.

    Attributes:
        workers: "host:port" by rank, as TensorFlow is to use them.
    """

    def __init__(self, loop: EventLoop, group: Group) -> None:
        self.workers = group.workers
        self._loop, self._group = loop, group
        self._peer_timeout_s = 0.0

    def watch(self, peer_timeout_s: float) -> None:
        """Starts to send and to expect heartbeats; a lost worker ends this process from now on.

        Args:
            peer_timeout_s: silence after which a worker counts as lost.
        """

        async def start() -> None:
            self._group.watch(peer_timeout_s)
            self._group.loss.add_done_callback(self._on_loss)

        self._peer_timeout_s = peer_timeout_s
        self._loop.run(start())

    def report_step(self, step: int) -> None:
        """Sets the global step that the next heartbeat reports."""
        self._group.step = step

    def exchange(self, value: Any, combine: Callable[[list[Any]], Any], timeout_s: float) -> Any:
        """Worker 0 combines the values of all workers; all get the result. A barrier, too.

        Args:
            value: this worker's (JSON).
            combine: from the values by rank to the result (JSON); called on worker 0.
            timeout_s: for all values to come.

        Raises:
            RunError: a worker gave no value within the time; the message names it.
        """
        return self._loop.run(self._group.exchange(value, combine, timeout_s))

    def gather(self, value: Any, timeout_s: float) -> list[Any]:
        """Returns every worker's value (JSON), by rank. Raises RunError as `exchange`."""
        values = self.exchange(value, lambda values: values, timeout_s)
        if not isinstance(values, list) or len(values) != len(self.workers):
            raise RunError(
                f"{self._group.name}: worker 0 sent other values than one of each worker"
            )
        return values

    def difference(self, value: Any, timeout_s: float) -> list[Any] | None:
        """Compares every worker's value (JSON) with worker 0's: see `_first_difference`.

        Raises:
            RunError: as `exchange`.
        """
        found: list[Any] | None = self.exchange(value, _first_difference, timeout_s)
        return found

    def fail(self, message: str, usage: bool) -> None:
        """Tells the others why this worker ends; they end, too.

        Args:
            message: the cause, one line.
            usage: whether wrong input is the cause, for their exit code.
        """
        self._loop.run(self._group.fail(message, EXIT_USAGE if usage else EXIT_FAILED))

    def wait_for_cause(self, seconds: float) -> None:
        """Waits for this process to be ended with the cause of a failure, if that is known.

        TensorFlow may notice a lost worker a moment earlier, and can't name it.
        """
        threading.Event().wait(min(seconds, self._peer_timeout_s + 2 * BEAT_S))

    def goodbye(self) -> None:
        """Waits until all are done. Worker 0, which the others' TensorFlow talks to, leaves last.

        Raises:
            RunError: a worker isn't done within the time that `watch` was given.
        """
        self._loop.run(self._goodbye())

    async def _goodbye(self) -> None:
        await self._group.exchange("done", lambda _: "done", self._peer_timeout_s, last=True)
        if self._group.is_chief:
            await self._group.parted(self._peer_timeout_s)

    def _on_loss(self, loss: "asyncio.Future[tuple[str, int]]") -> None:
        self._ending = asyncio.ensure_future(self._end(*loss.result()))

    async def _end(self, message: str, code: int) -> None:
        """Ends this process, after the others have heard the cause."""
        await self._group.parted(PARTING_S)
        line = shorten(f"{self._group.name}, step {self._group.step}: {message}", LONGEST)
        # The main thread may hang in a collective, which nothing interrupts.
        exits.leave(code, f"mnist_dist: {line}")


def _first_difference(values: list[Any]) -> list[Any] | None:
    """Finds the first worker whose value isn't worker 0's.

    Returns:
        Its rank, its value and worker 0's value; None if all are equal.
    """
    for rank, value in enumerate(values):
        if value != values[0]:
            return [rank, value, values[0]]
    return None
