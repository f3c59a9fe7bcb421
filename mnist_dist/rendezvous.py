"""The workers meet over plain TCP before TensorFlow starts, which would wait without a word.

Worker 0 listens on its port; the others say who they are, what they were started with, and on
which port they can be reached. Worker 0 compares, and tells all of them either the addresses to
use or what is wrong. The connections stay open: liveness.py watches over them.

A message is a line of JSON.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from mnist_dist.errors import RunError, UsageError
from mnist_dist.liveness import Meeting, Peer
from mnist_dist.topology import Topology

PROTOCOL = "mnist_dist-1"
RETRY_S = 0.1
VERDICT_S = 10.0  # beyond the deadline, for worker 0's word to arrive


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
    listener, port = _claim_port(topology)
    mine = {
        "protocol": PROTOCOL,
        "token": topology.token,
        "rank": topology.rank,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "address": f"{_address(interface) or topology.host}:{port}",
        **hello,
    }
    if topology.is_chief:
        with listener:
            return _receive(topology, mine, listener, deadline, connect_timeout_s)
    listener.close()  # it has shown that the port is free, and TensorFlow will use it
    return _introduce(topology, mine, deadline, connect_timeout_s)


def _claim_port(topology: Topology) -> tuple[socket.socket, int]:
    """A socket bound to the first of this worker's ports that is free."""
    ports = [
        topology.port + number * topology.num_workers for number in range(topology.port_candidates)
    ]
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Connections outlive the listener, and TensorFlow's server takes the same port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen(topology.num_workers)
        except OSError:
            listener.close()
        else:
            return listener, port
    raise UsageError(
        f"worker {topology.rank}: port {', '.join(map(str, ports))} of host "
        f"{socket.gethostname()} is in use; end what uses it or give another"
    )


def _address(interface: str) -> str:
    if not interface:
        return ""
    there = psutil.net_if_addrs()
    found = [a.address for a in there.get(interface, []) if a.family == socket.AF_INET]
    if not found:
        raise UsageError(
            f"--interface={interface}: host {socket.gethostname()} has no such interface with an "
            f"IPv4 address; it has {', '.join(sorted(there))}"
        )
    return found[0]


def _receive(
    topology: Topology,
    mine: dict[str, Any],
    listener: socket.socket,
    deadline: float,
    connect_timeout_s: float,
) -> Meeting:
    """Worker 0: takes in the others, compares, and gives the verdict."""
    hellos, peers = {0: mine}, dict[int, Peer]()
    verdict: Exception | None = None
    while len(hellos) < topology.num_workers and verdict is None:
        listener.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            verdict = RunError(_missing(topology, set(hellos), connect_timeout_s))
            break
        peer = Peer(connection)
        theirs = _first_word(peer)
        if theirs.get("protocol") != PROTOCOL or theirs.get("token") != topology.token:
            peer.send({"other": True})
            peer.close()
            continue
        rank = int(theirs["rank"])
        verdict = _compare(topology, hellos, theirs)
        peers[-1 if rank in hellos else rank] = peer
        hellos.setdefault(rank, theirs)
    if verdict is not None:
        for peer in peers.values():
            peer.send({"error": str(verdict), "usage": isinstance(verdict, UsageError)})
        raise verdict
    workers = tuple(hellos[rank]["address"] for rank in range(topology.num_workers))
    for rank, peer in peers.items():
        peer.name = f"worker {rank} (host {hellos[rank]['host']})"
        peer.send({"workers": workers})
    return Meeting(workers, 0, f"worker 0 (host {mine['host']})", peers)


def _first_word(peer: Peer) -> dict[str, Any]:
    peer.timeout(VERDICT_S)
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
    mine, rank = hellos[0], int(theirs["rank"])
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


def _introduce(
    topology: Topology, mine: dict[str, Any], deadline: float, connect_timeout_s: float
) -> Meeting:
    """The other workers: find worker 0, introduce themselves, wait for the verdict."""
    chief = f"worker 0 ({topology.workers[0]})"
    for address in _candidates(topology, deadline):
        try:
            peer = Peer(socket.create_connection(address, timeout=max(RETRY_S, 2.0)))
            peer.send(mine)
            peer.timeout(max(deadline - time.monotonic(), 0.0) + VERDICT_S)
            answer = peer.receive()
        except socket.gaierror as error:
            raise RunError(
                f"worker {topology.rank} (host {mine['host']}): host '{address[0]}' of worker 0 "
                f"can't be found ({error.strerror}); check its name"
            ) from error
        except (OSError, ValueError):
            continue  # not there yet, or something else listens there
        if "workers" in answer:
            peer.name = chief
            name = f"worker {topology.rank} (host {mine['host']})"
            return Meeting(tuple(answer["workers"]), topology.rank, name, {0: peer})
        peer.close()
        if "error" in answer:
            raise (UsageError if answer["usage"] else RunError)(answer["error"])
    raise RunError(
        f"worker {topology.rank} (host {mine['host']}): after {connect_timeout_s:g} s {chief} "
        "did not answer; look into its log, and whether this host can reach it"
    )


def _candidates(topology: Topology, deadline: float) -> Iterator[tuple[str, int]]:
    """Worker 0's host with each of its possible ports, over and over until the deadline."""
    host, _, port = topology.workers[0].rpartition(":")
    while time.monotonic() < deadline:
        for number in range(topology.port_candidates):
            yield host, int(port) + number * topology.num_workers
        time.sleep(RETRY_S)
