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
from collections.abc import Mapping
from typing import Any

from mnist_dist.cluster import ports
from mnist_dist.cluster.liveness import Meeting, Peer
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import RunError, UsageError

PROTOCOL = "mnist_dist-2"
RETRY_S = 0.1
WORD_S = 1.0  # for a word that the other side sends at once
GRACE_S = 3.0  # for the others to come and be told too, once something is wrong
TRY_S = 2 * ports.REACH_S  # for all workers to try all others


def meet(
    topology: Topology, hello: Mapping[str, Any], connect_timeout_s: float, interface: str = ""
) -> Meeting:
    """Waits until all workers are here and agree.

    Args:
        topology: of two workers or more.
        hello: "devices", how many this worker has, and "fingerprints": name -> mapping, in which
            all workers have to be equal.
        connect_timeout_s: how long to wait for the last one.
        interface: network interface whose address the others are to use; empty: the host's name.

    Raises:
        UsageError: workers that don't fit together, a port in use, an unknown interface.
        RunError: a worker that didn't come, a host that can't be found; the message names it.
    """
    deadline = time.monotonic() + connect_timeout_s
    address = ports.interface_address(interface) or topology.host
    listener, port = ports.claim(topology)
    mine = {
        "protocol": PROTOCOL,
        "token": topology.token,
        "rank": topology.rank,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "address": f"{address}:{port}",
        **hello,
    }
    role = _receive if topology.is_chief else _introduce
    with listener:  # closed at the end, since TensorFlow will listen there
        return role(topology, mine, listener, deadline, connect_timeout_s)


def _receive(
    topology: Topology,
    mine: dict[str, Any],
    listener: socket.socket,
    deadline: float,
    connect_timeout_s: float,
) -> Meeting:
    """Worker 0: takes in the others, compares, and gives the verdict."""
    hellos, peers = {0: mine}, dict[int, Peer]()
    told: list[Peer] = []
    wrong: Exception | None = None
    while len(told) < topology.num_workers - 1:
        listener.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            wrong = wrong or RunError(_missing(topology, set(hellos), connect_timeout_s))
            break
        peer = Peer(connection)
        theirs = _first_word(peer)
        if theirs.get("protocol") != PROTOCOL or theirs.get("token") != topology.token:
            peer.send({"other": True})
            peer.close()
            continue
        peer.send({"met": True})
        for rank in [rank for rank, earlier in peers.items() if earlier.is_gone()]:
            told.remove(peers.pop(rank))  # it was ended; maybe it is started again
            del hellos[rank]
        told.append(peer)
        problem = _compare(topology, hellos, theirs)
        if problem is None:
            hellos[theirs["rank"]], peers[theirs["rank"]] = theirs, peer
        elif wrong is None:
            wrong, deadline = problem, min(deadline, time.monotonic() + GRACE_S)
    workers = tuple(hellos[rank]["address"] for rank in sorted(hellos))
    wrong = wrong or _try_all(mine, workers, peers)
    if wrong is not None:
        for peer in told:
            peer.send({"error": str(wrong), "usage": isinstance(wrong, UsageError)})
        raise wrong
    for rank, peer in peers.items():
        peer.name = f"worker {rank} (host {hellos[rank]['host']})"
        peer.send({"workers": workers, "host": mine["host"]})
    return Meeting(workers, 0, f"worker 0 (host {mine['host']})", peers)


def _first_word(peer: Peer) -> dict[str, Any]:
    peer.timeout(WORD_S)
    with contextlib.suppress(OSError, ValueError):
        word = peer.receive()
        if isinstance(word, dict):
            return word
    return {}


def _missing(topology: Topology, here: set[int], waited_s: float) -> str:
    gone = [r for r in range(topology.num_workers) if r not in here]
    names = ", ".join(f"worker {rank} ({topology.workers[rank]})" for rank in gone[:8])
    more = f" and {len(gone) - 8} more" if len(gone) > 8 else ""
    return (
        f"after {waited_s:g} s {names}{more} did not come; look into their logs, and whether they "
        f"can reach worker 0 ({topology.workers[0]})"
    )


def _compare(
    topology: Topology, hellos: dict[int, dict[str, Any]], theirs: dict[str, Any]
) -> UsageError | None:
    """What is wrong with a worker that has come, compared with worker 0."""
    mine, rank = hellos[0], theirs["rank"]
    name = f"worker {rank} (host {theirs['host']})"
    if rank in hellos:
        other = hellos[rank]
        return UsageError(
            f"two workers have index {rank}: process {other['pid']} on host {other['host']} and "
            f"process {theirs['pid']} on host {theirs['host']}; give each its own"
        )
    if not 0 <= rank < topology.num_workers:
        return UsageError(f"{name}: the index is outside the {topology.num_workers} workers")
    if theirs["devices"] != mine["devices"]:
        return UsageError(
            f"{name} has {theirs['devices']} device(s), worker 0 {mine['devices']}; "
            "give each worker the same number, with --gpus or the scheduler"
        )
    for kind, values in mine["fingerprints"].items():
        there = theirs["fingerprints"].get(kind, {})
        for key in sorted({*values, *there}):
            if values.get(key) != there.get(key):
                flag = "--" if kind == "flags" else ""
                return UsageError(
                    f"{name} has {flag}{key}={there.get(key)}, worker 0 (host {mine['host']}) "
                    f"{flag}{key}={values.get(key)}; start all with the same {kind}"
                )
    return None


def _try_all(
    mine: dict[str, Any], workers: tuple[str, ...], peers: dict[int, Peer]
) -> RunError | None:
    """Lets every worker connect to every other; what the first finds wrong."""
    for peer in peers.values():
        peer.send({"try": workers})
    found = {0: ports.unreachable(workers, 0)}
    deadline = time.monotonic() + TRY_S
    for rank, peer in peers.items():
        peer.timeout(max(deadline - time.monotonic(), 0.01))
        try:
            found[rank] = peer.receive()["tried"]
        except (OSError, ValueError):  # the others can't reach it either: this is why
            return RunError(f"worker {rank} came, but then was gone; look into its log")
    return next(
        (RunError(f"worker {rank} {why}") for rank, why in sorted(found.items()) if why), None
    )


def _introduce(
    topology: Topology,
    mine: dict[str, Any],
    listener: socket.socket,  # open meanwhile, so that the others can try to reach it
    deadline: float,
    connect_timeout_s: float,
) -> Meeting:
    """The other workers: find worker 0, introduce themselves, wait for the verdict."""
    name = f"worker {topology.rank} (host {mine['host']})"
    chief = f"worker 0 ({topology.workers[0]})"
    seen = "did not answer"
    while time.monotonic() < deadline:
        for address in ports.candidates(topology, 0):
            try:
                peer = Peer(socket.create_connection(address, timeout=2 * WORD_S))
            except socket.gaierror as error:
                raise RunError(
                    f"{name}: host '{address[0]}' of worker 0 can't be found "
                    f"({error.strerror}); check its name"
                ) from error
            except OSError:
                continue  # not there yet
            peer.send(mine)
            # While worker 0 listens to something silent, it has no ear for this one.
            peer.timeout(3 * WORD_S)
            with contextlib.suppress(OSError, ValueError):
                answer = peer.receive()
                if answer == {"met": True}:
                    return _hear(topology, name, peer, deadline)
                if answer == {"other": True}:
                    seen = f"did not answer; another run listens on port {address[1]}"
            peer.close()
        time.sleep(RETRY_S)
    raise RunError(
        f"{name}: after {connect_timeout_s:g} s {chief} {seen}; look into its log, and whether "
        "this host can reach it"
    )


def _hear(topology: Topology, name: str, peer: Peer, deadline: float) -> Meeting:
    """Does what worker 0 says until the verdict, and raises it if it is bad."""
    try:
        while True:
            peer.timeout(max(deadline - time.monotonic(), 0.0) + TRY_S + GRACE_S)
            word = peer.receive()
            if "try" in word:
                peer.send({"tried": ports.unreachable(word["try"], topology.rank)})
            elif "error" in word:
                raise (UsageError if word["usage"] else RunError)(word["error"])
            else:
                peer.name = f"worker 0 (host {word['host']})"
                return Meeting(tuple(word["workers"]), topology.rank, name, {0: peer})
    except (OSError, ValueError) as error:
        raise RunError(
            f"{name}: worker 0 ({topology.workers[0]}) left before all workers had met; "
            "look into its log"
        ) from error
