"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable


def wait_for(what: str, condition: Callable[[], object], deadline_s: float) -> None:
    """Waits until `condition()` is true. Raises TimeoutError, saying `what`, after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s:g} s")
        time.sleep(0.02)
