"""An event loop in virtual time: waiting takes no time, and deadlines are exact.

While nothing else is to be done, the time jumps to the next timer. So a test of a silence of ten
seconds runs in milliseconds, and gives the same at any load.
"""

import asyncio

GRACE_S = 0.001  # real, in which a packet on the loopback interface arrives
LIMIT_S = 3600.0


class VirtualTime(asyncio.SelectorEventLoop):
    """The loop; its time begins at 0."""

    def __init__(self):
        self._now_s = 0.0
        super().__init__()
        wait = self._selector.select

        def select(timeout):
            events = wait(GRACE_S if timeout != 0 else 0)
            if not events and timeout != 0:
                assert timeout is not None, "everything waits, and no timer will end it"
                self._now_s += timeout
                assert self._now_s < LIMIT_S, "a wait without end"
            return events

        self._selector.select = select

    def time(self):
        return self._now_s


class Clock:
    """`cluster.deadline.Clock`, of the running loop."""

    @property
    def seconds(self):
        return now()


def now():
    """Seconds since the loop began."""
    return asyncio.get_running_loop().time()


def run(coroutine):
    """What a coroutine returns. No callback may fail, also of the tasks that are cancelled."""
    problems = []
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: problems.append(context))
        found = runner.run(coroutine)
    assert problems == []
    return found
