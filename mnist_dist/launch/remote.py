"""Starts workers on other hosts by ssh: connects to all of them, names those that can't be used."""

import contextlib
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mnist_dist.cluster import descriptors
from mnist_dist.cluster.topology import TOKEN
from mnist_dist.errors import RunError, UsageError
from mnist_dist.launch.hosts import Host
from mnist_dist.launch.ssh_worker import ANSWER_S, Remote, SshWorker
from mnist_dist.run.folders import writing

CONNECT_S = (10, 4)  # ssh's time limit: at first, and for a host that answered before
AT_ONCE = 8
"""Connections that are opened to one host at the same time. sshd drops some from the tenth on."""

FILES, OTHER_FILES = 3, 100
"""Files that a connection keeps open, and those that this process needs besides."""

PASSED = ("TF_", "XLA_", "NCCL_", "OMP_", "KMP_", "MNIST_DIST_", "LD_LIBRARY_PATH")
"""Variables of this process that the workers get, by the beginning of their names."""


class SshStarter:
    """Starts workers by ssh.

    Args:
        hosts: where workers may run.
        remote: how.
        say: prints a line.
    """

    def __init__(self, hosts: Sequence[Host], remote: Remote, say: Callable[[str], None]) -> None:
        self._hosts, self._remote, self._say = hosts, remote, say
        self._sessions = list[SshWorker]()
        self._silence_s = remote.peer_timeout_s / 2

    @property
    def gpus(self) -> int:
        """The least number of GPUs that a worker has, after `hosts`."""
        counts = {host.name: host.workers for host in self._hosts}
        return min((s.facts["gpus"] // counts[s.host] for s in self._sessions), default=0)

    def hosts(self, again: bool) -> list[str]:
        """Connects to all hosts; as `Starter.hosts`.

        Raises:
            UsageError: a host can't be used, at the first time. A line for each is printed before.
            RunError: ssh can't be started here.
        """
        descriptors.allow(FILES * sum(host.workers for host in self._hosts) + OTHER_FILES)
        connect = ("-o", f"ConnectTimeout={CONNECT_S[again]}")
        opened = {host.name: list[SshWorker]() for host in self._hosts}
        with _probe(self._remote.folder) as probe:
            while wanted := [name for host in self._hosts for name in _next(host, opened)]:
                wave = [self._open(name, connect, probe) for name in wanted]
                until = time.monotonic() + ANSWER_S
                for session in wave:
                    session.wait(until)
                    opened[session.host].append(session)
        by_host = list(itertools.chain.from_iterable(opened.values()))
        self._sessions = [session for session in by_host if not session.problem]
        bad = [session for session in by_host if session.problem]
        for line in dict.fromkeys(f"host {session.host}: {session.problem}" for session in bad):
            self._say(f"{line}{'; it is left out' if again else ''}")
        _hang_up(bad)
        if bad and not again:
            _hang_up(self._sessions)
            raise UsageError(
                f"{len({session.host for session in bad})} of {len(self._hosts)} host(s) can't be "
                "used, see above; nothing was started"
            )
        return [session.host for session in self._sessions]

    def _open(self, name: str, options: Sequence[str], probe: Path) -> SshWorker:
        try:
            return SshWorker(name, self._remote, options, probe)
        except OSError as error:
            raise RunError(f"ssh to {name} can't be started: {error}") from error

    def start(self, hosts: Sequence[str]) -> list[SshWorker]:
        """As `Starter.start`."""
        free, chosen = list(self._sessions), list[SshWorker]()
        for host in hosts:
            session = next(one for one in free if one.host == host)
            free.remove(session)
            chosen.append(session)
        _hang_up(free)
        first = chosen[0].facts
        token = secrets.token_hex(16)  # which keeps other users' processes out
        given = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
        given.pop("TF_CONFIG", None)
        for rank, session in enumerate(chosen):
            local = [other.host for other in chosen[:rank]].count(session.host)
            place = {
                "RANK": str(rank),
                "WORLD_SIZE": str(len(chosen)),
                "LOCAL_RANK": str(local),
                "MASTER_ADDR": ",".join(first["addresses"][:16]),
                "MASTER_PORT": str(first["port"]),
            }
            session.start(rank, {**given, **place, TOKEN: token}, self._silence_s)
        return chosen


def _next(host: Host, opened: Mapping[str, Sequence[SshWorker]]) -> list[str]:
    """The host's name, once for each connection that is to be opened next."""
    there = opened[host.name]
    if any(session.problem for session in there):
        return []
    return [host.name] * min(host.workers - len(there), AT_ONCE)


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """Yields a new file in a folder, for the other hosts to see, and deletes it.

    Raises:
        RunError: it can't be made.
    """
    probe = folder / f".ssh-probe-{secrets.token_hex(8)}"
    made = [parent for parent in probe.parents if not parent.exists()]
    with writing(probe):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _hang_up(sessions: Sequence[SshWorker]) -> None:
    """Ends connections on which no worker was started."""
    for session in sessions:
        session.hang_up()
