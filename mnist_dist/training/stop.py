"""Signals that stop a run: from a scheduler, an operator, Ctrl-C or a terminal that is closed."""

import contextlib
import functools
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from mnist_dist import exits
from mnist_dist.errors import EXIT_INTERRUPTED

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)
INTERRUPTED = "interrupted; what was saved before is left"
GRACE_S = 3.0
"""How long the main thread has to end a run that is to end without saving."""


class Stop:
    """Remembers the first signal; the training loop reads it at the border of a block.

    Ctrl-C is answered immediately by a thread, even while TensorFlow computes and Python can run no
    signal handler. A second Ctrl-C ends the run without saving, except during a save; a third one
    ends it in any case. If the main thread doesn't end the run within GRACE_S, or Ctrl-C is pressed
    again, that thread ends the process.

    Attributes:
        signal_name: of the first signal, such as "SIGTERM"; empty if there was none.
        say: prints the answers to Ctrl-C; called in another thread.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self.say: Callable[[str], None] = lambda _: None
        self._stage = "training"
        self._handled = 0  # calls of the handler, which the signals of one graph call share
        self._pressed = 0  # counted by the thread, which sees each signal
        self._pipe: int | None = None
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        """Installs the signal handlers; call it from the main thread."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._handle)
        if self._pipe is None:
            # Python's C handler writes each signal's number there, whatever the main thread does.
            reader, self._pipe = os.pipe()
            os.set_blocking(self._pipe, False)
            signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._answer, args=(reader,), daemon=True)
            self._thread.start()

    @property
    def listening(self) -> bool:
        """Whether the handlers are installed."""
        return self._pipe is not None

    def close(self) -> None:
        """Answers the signals that have come, then ends the thread; the handlers stay."""
        if self._pipe is not None and self._thread is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe)
            self._thread.join()
            self._pipe = None

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Marks the body as "an evaluation" or "a save"; everything else is training."""
        before, self._stage = self._stage, stage
        try:
            yield
        finally:
            self._stage = before

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signal_name = self.signal_name or signal.Signals(number).name
        if number == signal.SIGINT:
            self._handled += 1
            if self._ends_run(max(self._handled, self._pressed)):
                raise KeyboardInterrupt

    def _ends_run(self, presses: int) -> bool:
        return presses > 2 or (presses == 2 and self._stage != "a save")

    def _answer(self, pipe: int) -> None:
        """Answers each Ctrl-C until `close`; ends the process if the main thread can't."""
        ending = False
        with open(pipe, "rb", buffering=0) as signals:
            while not ending or select.select([signals], [], [], GRACE_S)[0]:
                numbers = signals.read(64)
                if not numbers:
                    return
                for _ in range(numbers.count(signal.SIGINT)):
                    if ending:
                        exits.leave(EXIT_INTERRUPTED, f"mnist_dist: {INTERRUPTED}")
                    self._pressed += 1
                    ending = self._ends_run(self._pressed)
                    answer = self._answer_to(self._pressed)
                    exits.within(exits.BOUND_S, functools.partial(self.say, answer))
        exits.leave(EXIT_INTERRUPTED, f"mnist_dist: {INTERRUPTED}")

    def _answer_to(self, presses: int) -> str:
        if presses == 1:
            until = "this evaluation" if self._stage == "an evaluation" else "a block"
            return f"stopping after {until}, saving; again to leave without saving"
        if presses == 2 and self._stage == "a save":
            return "stopping when this save is done; again to leave at once"
        return "leaving without saving"
