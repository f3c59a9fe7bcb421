"""Being told to stop: by a scheduler, an operator or Ctrl-C."""

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class Stop:
    """Remembers the first signal; the loop looks at a block's border. A second Ctrl-C ends at once.

    Attributes:
        name: of the signal, such as "SIGTERM"; empty as long as there was none.
    """

    def __init__(self) -> None:
        self.name = ""

    def listen(self) -> None:
        """Installs the handlers; from the main thread."""
        for number in SIGNALS:
            signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.name = self.name or signal.Signals(number).name
