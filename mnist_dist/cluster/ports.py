"""This worker's port and address, and whether it reaches the others'."""

import errno
import socket
from collections.abc import Sequence

import psutil

from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import UsageError

REACH_S = 5.0
"""How long to wait for another host to answer a connection."""


def candidates(topology: Topology, rank: int) -> list[tuple[str, int]]:
    """The host of worker `rank` with each port that it may have, the first choice first."""
    host, _, port = topology.workers[rank].rpartition(":")
    numbers = range(topology.port_candidates)
    return [(host, int(port) + number * topology.num_workers) for number in numbers]


def claim(topology: Topology) -> tuple[socket.socket, int]:
    """A socket that listens on the first of this worker's ports that is free.

    Raises:
        UsageError: none is free, or this user may not have it.
    """
    ports = [port for _, port in candidates(topology, topology.rank)]
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # Connections outlive the listener, and TensorFlow's server takes the same port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen(2 * topology.num_workers)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"worker {topology.rank}: port {port} of host {socket.gethostname()}: "
                    f"{error.strerror}; give another"
                ) from error
        else:
            return listener, port
    raise UsageError(
        f"worker {topology.rank}: port {', '.join(map(str, ports))} of host "
        f"{socket.gethostname()} is in use; end what uses it or give another"
    )


def interface_address(interface: str) -> str:
    """The IPv4 address of a network interface; empty for an empty name.

    Raises:
        UsageError: there is none of this name; the message lists those that are there.
    """
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


def unreachable(workers: Sequence[str], rank: int) -> str:
    """Connects to every other worker, and says what is wrong with the first that fails, or "".

    TensorFlow's collectives connect every worker with others, and wait without a word for one
    whose name is unknown here or whose port a firewall shuts.
    """
    for number, address in enumerate(workers):
        host, _, port = address.rpartition(":")
        try:
            if number != rank:
                socket.create_connection((host, int(port)), timeout=REACH_S).close()
        except OSError as error:
            reason = error.strerror or str(error)
            return f"can't reach worker {number} at {address} ({reason}); check name and firewall"
    return ""
