"""An asyncio event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from mnist_dist.cluster.deadline import Clock

SLICE_S = 0.25  # Python runs a signal's handler when the main thread wakes up

T = TypeVar("T")


class EventLoop:
    """Runs coroutines beside the main thread, which may be in a call of TensorFlow.

    The thread ends with the process, or with `close`.

    Attributes:
        clock: seconds in which the loop has run.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="meeting")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine; the calling thread waits for its result, or raises its exception."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            while True:
                try:
                    return future.result(SLICE_S)
                except TimeoutError:
                    if future.done():
                        return future.result()  # its own TimeoutError
                    if not self._thread.is_alive():
                        raise RuntimeError("the thread of the meeting has ended") from None
        finally:
            future.cancel()

    def close(self) -> None:
        """Ends the thread; open connections are closed."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        clock = self._loop.create_task(self.clock.run())  # a reference keeps a task alive
        self._loop.run_forever()
        tasks = {clock, *asyncio.all_tasks(self._loop)}
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()
