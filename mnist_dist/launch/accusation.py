"""Which worker another one gave up: read from the line that it prints before it ends."""

import re
from typing import NamedTuple

ACCUSED = re.compile(r"worker (\d+) \(host (\S+)\) (is gone|fell silent)")


class Accusation(NamedTuple):
    """A worker that another one gave up.

    Attributes:
        rank: of the accused worker.
        host: of the accused worker.
        silent: it hung, or its network is lost; False if its connection was closed.
    """

    rank: int
    host: str
    silent: bool


def accusation(line: str) -> Accusation | None:
    """Reads a line of a worker's standard error; None if it accuses nobody."""
    match = ACCUSED.search(line)
    return Accusation(int(match[1]), match[2], match[3] == "fell silent") if match else None
