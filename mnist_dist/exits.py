"""How a command's process begins and ends, even if its outputs can't be written.

Standard output and error may be closed, on a full disk, or a pipe that nobody reads. Such an output
neither ends a run nor keeps a process from ending: the text is dropped.
"""

import contextlib
import io
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn, TextIO

from mnist_dist.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SAVED,
    EXIT_USAGE,
    EXIT_WRONG_BITS,
    shorten,
)

BOUND_S = 2.0
"""The longest that the process's end waits for an output that nobody reads."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Output(io.FileIO):
    """A standard stream whose `write` never fails.

    After a failed write it is redirected to /dev/null, also for writers other than Python.

    Attributes:
        failure: why it couldn't be written; empty if it could, or if its reader has gone away.
    """

    failure = ""

    def write(self, data: Any, /) -> int:
        """Writes all of `data`, waiting if a non-blocking pipe is full."""
        view = memoryview(data).cast("B")
        try:
            _write_all(self.fileno(), view)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.failure = error.strerror or str(error)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
        return len(view)


def begin(name: str, stops: bool = False) -> None:
    """The first statement of a command's module, before its other imports.

    From here on the outputs can't fail, and Ctrl-C or a missing package ends the process with one
    line. It does nothing in a module that was imported.

    Args:
        name: the module's __name__.
        stops: whether the command may be requeued: a signal to stop, too, ends it with one line.
    """
    if name != "__main__":
        return
    _open_if_closed(0)
    sys.stdout, sys.stderr = _protected(1, sys.stdout), _protected(2, sys.stderr)
    sys.excepthook = _leave_by
    signal.signal(signal.SIGINT, _interrupted)
    for number in STOP_SIGNALS if stops else ():
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _stopped)


def end(main: Callable[[list[str]], int], needs_output: bool = True) -> NoReturn:
    """The last statement of a command's module: runs the command and ends the process.

    Args:
        main: the command; takes its arguments and returns the exit code.
        needs_output: whether the command has failed if its output couldn't be written.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main(sys.argv[1:])
    except SystemExit as error:  # argparse, after printing its help
        code = error.code if isinstance(error.code, int) else 0
    except BaseException as error:
        _leave_by(type(error), error, error.__traceback__)
    # Python's own end waits for the thread of a slow save and takes TensorFlow apart, whose
    # allocator aborts the process if a GPU's memory was full. So a failed command skips it.
    if code in (EXIT_FAILED, EXIT_WRONG_BITS, EXIT_INTERRUPTED):
        leave(code)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    failure = getattr(getattr(sys.stdout.buffer, "raw", None), "failure", "")
    if failure:
        line = f"mnist_dist: standard output can't be written ({failure})"
        if needs_output:
            leave(code or EXIT_FAILED, line)
        print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def leave(code: int, line: str = "") -> NoReturn:
    """Ends the process now, from any thread; neither a full disk nor a blocked pipe prevents it.

    Args:
        code: the exit code.
        line: printed last, on standard error.
    """
    try:
        within(BOUND_S, _flush)
        if line:
            within(BOUND_S, lambda: _write_all(2, memoryview(f"{line}\n".encode())))
    finally:
        os._exit(code)


def within(seconds: float, action: Callable[[], object]) -> None:
    """Runs an action that may hang or fail in a thread, and waits for it at most that long.

    Args:
        seconds: the longest wait; an action that takes longer continues in its thread.
        action: its result and its errors are dropped.
    """

    def run() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)


def _protected(number: int, stream: TextIO | None) -> io.TextIOWrapper:
    """A text stream on a standard descriptor, which is opened if it is closed."""
    _open_if_closed(number)
    encoding = stream.encoding if stream else "utf-8"
    unbuffered = isinstance(stream, io.TextIOWrapper) and stream.write_through  # python -u
    return io.TextIOWrapper(
        io.BufferedWriter(Output(number, "w", closefd=False)),
        encoding=encoding,
        errors="replace" if number == 1 else "backslashreplace",
        line_buffering=number == 2 or os.isatty(number) or unbuffered,
    )


def _open_if_closed(number: int) -> None:
    """Opens /dev/null on a closed descriptor, else the next file that is opened would get it."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def _write_all(number: int, data: memoryview) -> None:
    """Writes to a descriptor, also if it is non-blocking. Raises OSError."""
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:
            select.select([], [number], [])


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    leave(EXIT_INTERRUPTED, "mnist_dist: interrupted")


def _stopped(number: int, _frame: FrameType | None) -> NoReturn:
    name = signal.Signals(number).name
    leave(EXIT_SAVED, f"mnist_dist: told to stop by {name} before training began")


def _leave_by(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> NoReturn:
    """Ends the process because of an exception that nothing has caught."""
    if issubclass(kind, KeyboardInterrupt):
        leave(EXIT_INTERRUPTED, "mnist_dist: interrupted")
    if issubclass(kind, ImportError):
        leave(EXIT_USAGE, missing(error))
    text = "".join(traceback.format_exception(kind, error, trace))
    leave(EXIT_FAILED, text.rstrip())


def missing(error: BaseException) -> str:
    """The line for a package that isn't installed."""
    return f"mnist_dist: {shorten(error, 500)}; install what is missing"
