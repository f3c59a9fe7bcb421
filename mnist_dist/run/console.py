"""The printed lines of a run and, on a terminal, a progress bar below them.

The lines go to standard output. On a terminal the bar is the last line; it is redrawn by carriage
returns and blanks, without escape codes, and erased at the end.
"""

import contextlib
import os
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from mnist_dist.run import bar

TICK_S = 1.0
DRAW_S = 0.1
ECHO = 4  # columns of ^C, pressed twice


class Console:
    """Prints for the chief; on the other workers it prints nothing.

    Use it as a context manager: on leaving it erases the bar, so that an error's message starts on
    an empty line.
    """

    def __init__(self, chief: bool = True, verbosity: int = 0, loss_every_s: float = 0.0) -> None:
        """Args:
        chief: whether this worker prints.
        verbosity: below 0 for only warnings, errors and the answer to Ctrl-C.
        loss_every_s: least number of seconds between two loss lines.
        """
        self._chief = chief
        self._quiet = not chief or verbosity < 0
        self._loss_every_s = loss_every_s
        self._loss_due = 0.0  # by time.monotonic
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._pace: bar.Pace | None = None
        self._loss: float | None = None
        self._doing: tuple[str, float] | None = None
        self._paused_s, self._block_ended, self._drawn, self._shown = 0.0, 0.0, 0.0, 0
        # Duplicated, since descriptor 2 is redirected while TensorFlow is imported.
        streams = () if self._quiet else (sys.stdout, sys.stderr)
        terminal = next((stream for stream in streams if stream and stream.isatty()), None)
        self._lines_on_terminal = terminal is sys.stdout
        self._terminal = os.dup(terminal.fileno()) if terminal else None
        self._blocks = "utf" in (getattr(terminal, "encoding", None) or "").lower()

    def __enter__(self) -> Self:
        if self._terminal is not None:
            threading.Thread(target=self._tick, daemon=True, name="console").start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        with self._lock:
            self._leave_terminal()

    def line(self, text: str) -> None:
        """Prints one or more lines above the bar; on a terminal they are wrapped at words."""
        if self._quiet:
            return
        with self._lock:
            self._write("")
            if self._lines_on_terminal:
                text = wrapped(text, self._columns())
            else:  # the bar on standard error is for the start only
                self._leave_terminal()
            with contextlib.suppress(OSError):  # nobody reads the log; the run continues
                print(text, flush=True)
            self._draw()

    def loss(self, batch: int, loss: float) -> None:
        """Prints the notebook's line for a batch, unless the last one was printed just before.

        Args:
            batch: counted within its epoch.
            loss: its mean loss.
        """
        now = time.monotonic()
        if now >= self._loss_due:
            self._loss_due = now + self._loss_every_s
            self.line(f"Batch #{batch}\tLoss: {loss:.6f}")

    def notice(self, text: str) -> None:
        """Prints a line on standard error; may be called from any thread."""
        if not self._chief:
            return
        with self._lock:
            self._write("")
            line = f"mnist_dist: {text}"
            if sys.stderr.isatty():
                line = wrapped(line, self._columns())
            with contextlib.suppress(OSError):
                print(line, file=sys.stderr, flush=True)
            self._draw()

    def stage(self, what: str) -> None:
        """Shows an activity and its duration in the bar from now on; "" shows none."""
        self._doing = (what, time.monotonic()) if what else None
        self._draw()

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Shows an activity during the body, whose time doesn't count as training."""
        before, started = self._doing, time.monotonic()
        self.stage(what)
        try:
            yield
        finally:
            self._doing = before
            self._paused_s += time.monotonic() - started

    def begin(self, pace: bar.Pace) -> None:
        """Shows the run's progress from now on; the first block is being compiled."""
        self._pace, self._block_ended, self._paused_s = pace, time.monotonic(), 0.0
        pace.blocks = self._blocks
        self.stage("compiling the first block")

    def advance(self, steps: int, loss: float) -> None:
        """Counts the steps of a trained block, and shows the loss of its last step."""
        if self._pace is None:
            return
        now = time.monotonic()
        train_s = now - self._block_ended - self._paused_s
        self._pace.advance(steps, train_s, self._paused_s)
        self._loss, self._doing, self._block_ended, self._paused_s = loss, None, now, 0.0
        if now - self._drawn > DRAW_S:
            self._draw()

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            self._draw()

    def _draw(self) -> None:
        if self._terminal is None:
            return
        with self._lock:
            now = self._drawn = time.monotonic()
            doing = ""
            if self._doing:
                what, started = self._doing
                doing = f"{what} {now - started:.0f} s" if now - started >= 1 else what
            left_s = self._pace.left_s(now - self._block_ended) if self._pace else None
            self._write(bar.text(self._pace, doing, self._loss, left_s, self._columns() - 1))

    def _write(self, text: str) -> None:
        """Replaces the last line's text."""
        if self._terminal is None or not (text or self._shown):
            return
        covered = self._cover() if self._shown > len(text) else "\r"
        self._shown = len(text)
        try:
            os.write(self._terminal, (covered + text).encode())
        except OSError:  # the terminal was closed; the run continues
            self._leave_terminal()

    def _cover(self) -> str:
        """Blanks over the shown text and over the ^C that a terminal echoes after it."""
        return "\r" + " " * min(self._shown + ECHO, self._columns() - 1) + "\r"

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._terminal or 1).columns
        except OSError:
            columns = 0
        return columns or 80

    def _leave_terminal(self) -> None:
        terminal, cover = self._terminal, self._cover()
        self._terminal = None
        if terminal is not None:
            with contextlib.suppress(OSError):
                if self._shown:
                    os.write(terminal, cover.encode())
                os.close(terminal)


def complain(error: Exception) -> None:
    """Prints an error as one line on standard error.

    On a terminal it is wrapped at words, and a command line at its end is printed separately, so
    that it can be copied.
    """
    text, command = f"mnist_dist: {error}", getattr(error, "command", "")
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            text = wrapped(text.removesuffix(command).rstrip(), columns)
            text += f"\n\n  {command}\n" if command else ""
    print(text, file=sys.stderr, flush=True)


def wrapped(text: str, columns: int) -> str:
    """The text with lines longer than `columns` wrapped at words."""
    return "\n".join(
        textwrap.fill(
            line,
            columns,
            expand_tabs=False,
            replace_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
        if len(line) > columns
        else line
        for line in text.split("\n")
    )
