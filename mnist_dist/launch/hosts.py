"""Lists of hosts: --hosts, a hostfile, or what PBS, LSF and Grid Engine write for a job."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mnist_dist import bounded
from mnist_dist.bounded import whole_number
from mnist_dist.cluster.hostlist import MOST_HOSTS, expand_hostlist
from mnist_dist.errors import UsageError, shorten

MOST_SLOTS = 1024
MOST_BYTES = 2**22
NAME = r"(::)?[A-Za-z0-9_][A-Za-z0-9_.@%:-]*"
"""A host for ssh: a name, an address, user@host. It doesn't begin like an option."""

SCHEDULERS = {"PBS_NODEFILE": "PBS", "LSB_DJOB_HOSTFILE": "LSF", "PE_HOSTFILE": "Grid Engine"}
"""Variable that names the file of a job's hosts -> scheduler."""


class Host(NamedTuple):
    """A host, and how many workers it gets."""

    name: str
    workers: int = 1


def listed(text: str) -> list[Host]:
    """The hosts of --hosts: `n1,n2,n[4-7]`, or `n1:2` for two workers on n1.

    An IPv6 address may stand in brackets.

    Raises:
        UsageError: something else than names and numbers, or none.
    """
    try:
        items = expand_hostlist(_bare(text))
    except UsageError as error:
        raise UsageError(f"--hosts: {error}; give names such as n1,n2 or n[1-4]") from error
    found = []
    for item in items:
        name, colon, number = item.rpartition(":")
        if not colon or ":" in name:  # an IPv6 address
            name, number = item, "1"
        found.append(_host(name, number, f"--hosts={shorten(text)}"))
    return _merged(found, f"--hosts={shorten(text)}")


def hostfile(path: Path, what: str) -> list[Host]:
    """The hosts of a file: a host a line, `n1`, `n1 slots=2` or `n1:2`; `#` begins a comment.

    A host that is repeated without a number counts once, so that a scheduler's file, which repeats
    a host for each of its cores, gives one worker a host.

    Args:
        path: of the file.
        what: what the user gave, for messages.

    Raises:
        UsageError: it can't be read, or has a line of another form.
    """
    counts = dict[str, int]()  # 0: without a number so far
    for number, line in enumerate(_lines(path, what), start=1):
        words = _bare(line.partition("#")[0]).split()
        if not words:
            continue
        name, *options = words
        slots = [word.partition("=")[2] for word in options if word.startswith("slots=")]
        known = all(re.fullmatch(r"(slots|max_slots|max-slots|cpu)=\d+", word) for word in options)
        if not known or len(slots) > 1:
            raise UsageError(
                f"{what}: line {number} is '{shorten(line)}'; give a host a line, such as n1 or "
                "n1 slots=2"
            )
        base, colon, count = name.rpartition(":")
        if colon and ":" not in base and not slots:
            name, slots = base, [count]
        host = _host(name, slots[0] if slots else "1", f"{what}: line {number}")
        counts[name] = counts.get(name, 0) + (host.workers if slots else 0)
    return _merged([Host(name, workers or 1) for name, workers in counts.items()], what)


def of_scheduler(environment: Mapping[str, str]) -> tuple[str, list[Host]]:
    """The hosts of the job that this process is in, each with one worker.

    Args:
        environment: such as os.environ.

    Returns:
        The scheduler's name, and the hosts; "" and none outside of a job.

    Raises:
        UsageError: the scheduler's file can't be read.
    """
    for variable, scheduler in SCHEDULERS.items():
        given = environment.get(variable)
        if given:
            what = f"{variable}={shorten(given)}"
            names = [line.split()[0] for line in _lines(Path(given), what) if line.split()]
            hosts = [_host(name, "1", what) for name in dict.fromkeys(names)]
            return scheduler, _merged(hosts, what)
    return "", []


def _bare(text: str) -> str:
    """The text without the brackets around IPv6 addresses."""
    return re.sub(r"\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%\w+)?)\]", r"\1", text)


def _lines(path: Path, what: str) -> list[str]:
    try:
        return bounded.read_text(path, MOST_BYTES).removeprefix("\ufeff").splitlines()
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror}; give a file with a host a line") from error
    except ValueError as error:
        raise UsageError(f"{what}: the file {error}; give a file with a host a line") from error


def _host(name: str, workers: str, what: str) -> Host:
    number = whole_number(workers, MOST_SLOTS)
    if not re.fullmatch(NAME, name) or not number:
        given = name if number else f"{name}:{workers}"
        raise UsageError(
            f"{what}: '{shorten(given)}' is no host; give names or addresses, and at most "
            f"{MOST_SLOTS} workers on each"
        )
    return Host(name, number)


def _merged(hosts: Iterable[Host], what: str) -> list[Host]:
    """One entry for each host, with the sum of its workers. Raises UsageError if there is none."""
    total = dict[str, int]()
    for host in hosts:
        total[host.name] = total.get(host.name, 0) + host.workers
    if not total or sum(total.values()) > MOST_HOSTS:
        raise UsageError(f"{what}: {sum(total.values())} hosts; give 1 to {MOST_HOSTS:,}")
    return [Host(name, workers) for name, workers in total.items()]
