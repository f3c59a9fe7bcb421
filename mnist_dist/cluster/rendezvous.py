"""The workers meet over plain TCP before TensorFlow starts, which would wait without a word.

Worker 0 listens on its port; the others say who they are, what they were started with, and on
which port they can be reached. Worker 0 compares, has everyone try to reach everyone, and tells
all of them either the addresses to use or what is wrong. The connections stay open: liveness.py
watches over them.

A message is a line of JSON: hello, "met" (worker 0 has it), "try" (these addresses), "tried",
and the verdict, "workers" or "error".
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from mnist_dist.cluster import handshake, ports
from mnist_dist.cluster.address import join, split
from mnist_dist.cluster.deadline import RETRY_S, MeetingDeadline
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.peer import WORKERS_BYTES, Deadline, Peer
from mnist_dist.cluster.topology import TOKEN, Topology
from mnist_dist.errors import RunError, UsageError

WORD_S = 1.0  # for a word that the other side sends at once
GRACE_S = 3.0  # for the others to come and be told too, once something is wrong
TRY_S = 2 * ports.REACH_S  # for all workers to try all others
LOOK_S = 0.25  # to look whether this worker was told to stop


def meet(  # noqa: PLR0913
    topology: Topology,
    devices: int,
    fingerprints: Mapping[str, Mapping[str, str]],
    connect_timeout_s: float,
    interface: str = "",
    told: Callable[[], str] = str,
) -> Meeting:
    """Waits until all workers are here and agree.

    Args:
        topology: of two workers or more.
        devices: how many this worker has: the same number on all.
        fingerprints: kind -> name -> value, in which all workers have to be equal.
        connect_timeout_s: how long to wait for the last one.
        interface: network interface whose address the others are to use; empty: the host's name.
        told: name of the signal that told this worker to stop; empty as long as there was none.

    Raises:
        UsageError: workers that don't fit together, a port in use, an unknown interface.
        RunError: a worker that didn't come, a host that can't be found; the message names it.
            ToldToStop: this worker was told to stop meanwhile.
    """
    chosen = ports.interface_address(interface)
    address = chosen or topology.host
    listener, port = ports.claim(topology, chosen)
    mine = Handshake(
        topology.rank,
        socket.gethostname(),
        os.getpid(),
        join(address, port),
        devices,
        fingerprints,
    )
    waiting = MeetingDeadline(mine.name, connect_timeout_s, told)
    role = _receive if topology.is_chief else _introduce
    with listener:  # closed at the end, since TensorFlow will listen there
        return role(topology, mine, listener, waiting)


def _receive(
    topology: Topology, mine: Handshake, listener: socket.socket, waiting: MeetingDeadline
) -> Meeting:
    """Worker 0: takes in the others, compares, and gives the verdict."""
    hellos, peers = {0: mine}, dict[int, Peer]()
    strangers: list[Peer] = []  # workers of this run that don't fit: they are told, too
    wrong: Exception | None = None
    listener.settimeout(LOOK_S)
    while len(peers) + len(strangers) < topology.num_workers - 1:
        try:
            connection, (host, *_) = listener.accept()
        except TimeoutError:
            if waiting.over(_absent(topology, hellos)):
                wrong = wrong or RunError(_missing(topology, hellos, waiting.seconds))
                break
            continue
        peer = Peer(connection)
        theirs = _admit(topology, peer, host, waiting)
        if theirs is None:
            continue
        for rank in [rank for rank, earlier in peers.items() if earlier.is_gone()]:
            del peers[rank], hellos[rank]  # it was ended; maybe it is started again
        problem = handshake.compare(hellos, theirs, topology.num_workers)
        if problem is None:
            hellos[theirs.rank], peers[theirs.rank] = theirs, peer
            continue
        strangers.append(peer)
        if wrong is None:
            wrong = problem
            waiting.cut(GRACE_S)
    workers = tuple(hellos[rank].address for rank in sorted(hellos))
    wrong = wrong or _try_all(workers, peers, waiting)
    if wrong is not None:
        for peer in (*peers.values(), *strangers):
            peer.send({"error": str(wrong), "usage": isinstance(wrong, UsageError)})
        raise wrong
    for rank, peer in peers.items():
        peer.name = hellos[rank].name
        peer.send({"workers": workers, "host": mine.host})
    return Meeting(workers, 0, mine.name, peers)


def _admit(topology: Topology, peer: Peer, host: str, waiting: MeetingDeadline) -> Handshake | None:
    """Hears who has come; None for who is no worker of this run, or says nothing.

    What it says is believed only where it shows the run's token; what is no hello is dropped.
    """
    try:
        word = peer.receive(WORD_S)
        ours = word.get("protocol") == handshake.PROTOCOL and word.get("token") == topology.token
        if ours:
            theirs = handshake.read(word)
            peer.most_bytes = WORKERS_BYTES
            peer.send({"met": True})
            return theirs
        peer.send({"other": True})
    except OSError:  # a look whether somebody listens here
        pass
    except ValueError as error:
        waiting.say(f"dropped a connection from {host.removeprefix('::ffff:')}: {error}")
    peer.close()
    return None


def _absent(topology: Topology, here: Mapping[int, Handshake]) -> str:
    gone = [r for r in range(topology.num_workers) if r not in here]
    names = ", ".join(f"worker {rank} ({topology.workers[rank]})" for rank in gone[:8])
    return names + (f" and {len(gone) - 8} more" if len(gone) > 8 else "")


def _missing(topology: Topology, here: Mapping[int, Handshake], waited_s: float) -> str:
    return (
        f"after {waited_s:g} s {_absent(topology, here)} did not come; look into their logs, and "
        f"whether they can reach worker 0 ({topology.workers[0]})"
    )


def _try_all(
    workers: tuple[str, ...], peers: dict[int, Peer], waiting: MeetingDeadline
) -> RunError | None:
    """Lets every worker connect to every other; what the first finds wrong."""
    for peer in peers.values():
        peer.send({"try": workers})
    found = {0: ports.unreachable(workers, 0, waiting.for_name)}
    countdown = Deadline(max(waiting.countdown.left(), 0.0) + TRY_S)
    for rank, peer in peers.items():
        try:
            found[rank] = str(_word(peer, countdown, waiting, f"worker {rank}")["tried"])
        except (OSError, ValueError, KeyError):  # the others can't reach it either: this is why
            return RunError(f"worker {rank} came, but then was gone; look into its log")
    return next(
        (RunError(f"worker {rank} {why}") for rank, why in sorted(found.items()) if why), None
    )


def _word(peer: Peer, countdown: Deadline, waiting: MeetingDeadline, whom: str) -> dict[str, Any]:
    """What a peer says next. Raises what `Peer.receive` and `MeetingDeadline.over` do."""
    while True:
        try:
            return peer.receive(LOOK_S)
        except TimeoutError:
            waiting.over(whom)
            if countdown.left() <= 0:
                raise


def _introduce(
    topology: Topology,
    mine: Handshake,
    _listener: socket.socket,  # open meanwhile, so that the others can try to reach it
    waiting: MeetingDeadline,
) -> Meeting:
    """The other workers: find worker 0, introduce themselves, wait for the verdict."""
    chief = f"worker 0 ({topology.workers[0]})"
    look = "look into its log, and whether this host can reach it"
    seen = f"{chief} did not answer; {look}"
    while not waiting.over(chief):
        for host, port in ports.candidates(topology, 0):
            try:
                connection = socket.create_connection((host, port), timeout=2 * WORD_S)
            except socket.gaierror as error:
                seen = (
                    f"host '{host}' of worker 0 can't be found ({error.strerror}); check its name"
                )
                waiting.for_name("worker 0", host, error)
                break
            except UnicodeError as error:  # a label of over 63 characters
                raise RunError(f"{mine.name}: host '{host}' of worker 0: {error}") from error
            except OSError:
                waiting.over(chief)
                continue  # not there yet
            peer = Peer(connection)
            peer.send(mine.words(topology.token))
            with contextlib.suppress(OSError, ValueError):
                # While worker 0 listens to something silent, it has no ear for this one.
                answer = peer.receive(3 * WORD_S)
                if answer == {"met": True}:
                    peer.most_bytes = WORKERS_BYTES
                    return _hear(topology, mine, peer, waiting)
                if answer == {"other": True}:
                    other = f"another run listens on port {port}, or has another {TOKEN}"
                    seen = f"{chief} did not answer; {other}; {look}"
            peer.close()
        time.sleep(RETRY_S)
    raise RunError(f"{mine.name}: after {waiting.seconds:g} s {seen}")


def _hear(topology: Topology, mine: Handshake, peer: Peer, waiting: MeetingDeadline) -> Meeting:
    """Does what worker 0 says until the verdict, and raises it if it is bad."""
    countdown = Deadline(max(waiting.countdown.left(), 0.0) + TRY_S + GRACE_S)
    try:
        while True:
            word = _word(peer, countdown, waiting, "the other workers")
            if "error" in word:
                raise (UsageError if word.get("usage") else RunError)(str(word["error"]))
            addresses = _addresses(word.get("try", word.get("workers")), topology.num_workers)
            if "try" in word:
                why = ports.unreachable(addresses, topology.rank, waiting.for_name)
                peer.send({"tried": why})
            else:
                peer.name = f"worker 0 (host {word.get('host')})"
                return Meeting(addresses, topology.rank, mine.name, {0: peer})
    except (OSError, ValueError) as error:
        raise RunError(
            f"{mine.name}: worker 0 ({topology.workers[0]}) left before all workers had met; "
            "look into its log"
        ) from error


def _addresses(value: Any, number: int) -> tuple[str, ...]:
    """host:port of each worker, as worker 0 says. Raises ValueError if it is nothing like that."""
    if not isinstance(value, list) or len(value) != number:
        raise ValueError("other addresses than one of each worker")
    for address in value:
        split(address if isinstance(address, str) else "")
    return tuple(value)
