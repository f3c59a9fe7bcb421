"""Being told to stop: by a scheduler, an operator or Ctrl-C."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class Stop:
    """Remembers the first signal; the loop looks at a block's border.

    Ctrl-C is answered at once, also while TensorFlow computes and no handler can run. A second one
    leaves without saving, but not during a save; a third one leaves at once.

    Attributes:
        name: of the signal, such as "SIGTERM"; empty as long as there was none.
        say: prints the answers to Ctrl-C; called in a thread of its own.
    """

    def __init__(self) -> None:
        self.name = ""
        self.say: Callable[[str], None] = lambda _: None
        self._stage = "training"
        self._presses = 0
        self._pipe: int | None = None
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        """Installs the handlers; from the main thread."""
        for number in SIGNALS:
            signal.signal(number, self._heard)
        if self._pipe is None:
            # Python's own C handler writes the signals there, whatever this thread does.
            reader, self._pipe = os.pipe()
            os.set_blocking(self._pipe, False)
            signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._answer, args=(reader,), daemon=True)
            self._thread.start()

    @property
    def listening(self) -> bool:
        """Whether it has the handlers."""
        return self._pipe is not None

    def close(self) -> None:
        """Answers what is unanswered, and no more; the handlers stay."""
        if self._pipe is not None and self._thread is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe)
            self._thread.join()
            self._pipe = None

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """What the run is in meanwhile: "an evaluation" or "a save"; else it is in training."""
        before, self._stage = self._stage, stage
        try:
            yield
        finally:
            self._stage = before

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name
        if number == signal.SIGINT:
            self._presses += 1
            if self._presses > 2 or (self._presses == 2 and self._stage != "a save"):
                raise KeyboardInterrupt

    def _answer(self, pipe: int) -> None:
        presses = 0
        with open(pipe, "rb", buffering=0) as signals:
            while numbers := signals.read(64):
                for number in numbers:
                    if number == signal.SIGINT:
                        presses += 1
                        self.say(self._answer_to(presses))

    def _answer_to(self, press: int) -> str:
        if press == 1:
            until = "this evaluation" if self._stage == "an evaluation" else "a block"
            return f"stopping after {until}, saving; again to leave without saving"
        if press == 2 and self._stage == "a save":
            return "stopping when this save is done; again to leave at once"
        return "leaving without saving"
