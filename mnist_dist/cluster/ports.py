"""This worker's port and address, and whether it reaches the others'."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence

import psutil

from mnist_dist.cluster.address import split
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import UsageError

REACH_S = 5.0
"""How long to wait for another host to answer a connection."""


def candidates(topology: Topology, rank: int) -> list[tuple[str, int]]:
    """The host of worker `rank` with each port that it may have, the first choice first."""
    host, port = split(topology.workers[rank])
    numbers = range(topology.port_candidates)
    return [(host, port + number * topology.num_workers) for number in numbers]


def claim(topology: Topology, chosen: str = "") -> tuple[socket.socket, int]:
    """A socket that listens on the first of this worker's ports that is free.

    It listens on the address of the interface that was chosen. Worker 0 does where its name leads
    there: the others come by that. Else it is all of the host's addresses, IPv4 and IPv6.

    Args:
        topology: who runs where.
        chosen: what `interface_address` gave.

    Raises:
        UsageError: none is free, or this user may not have it.
    """
    ports = [port for _, port in candidates(topology, topology.rank)]
    address = chosen if topology.rank or chosen in _addresses(topology.host) else ""
    for port in ports:
        try:
            if address:
                listen(port).close()  # TensorFlow's server will take it on all addresses
            return listen(port, 2 * topology.num_workers, address), port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"worker {topology.rank}: port {port} of host {socket.gethostname()}: "
                    f"{error.strerror}; give another"
                ) from error
    raise UsageError(
        f"worker {topology.rank}: port {', '.join(map(str, ports))} of host "
        f"{socket.gethostname()} is in use; end what uses it or give another"
    )


def listen(port: int, backlog: int = 1, address: str = "") -> socket.socket:
    """A socket that listens on a port of an address, or of all, IPv6 too where this machine has it.

    Raises:
        OSError: the port is in use, or this user may not have it.
    """
    both = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # Connections outlive the listener, and TensorFlow's server takes the same port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if both:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def interface_address(interface: str) -> str:
    """The IPv4 address of a network interface, or else its IPv6 address; empty for no name.

    Raises:
        UsageError: there is none of this name; the message lists those that are there.
    """
    if not interface:
        return ""
    there = psutil.net_if_addrs()
    for family in (socket.AF_INET, socket.AF_INET6):
        for found in there.get(interface, []):
            if found.family == family and not _link_local(found.address):
                return found.address
    raise UsageError(
        f"--interface={interface}: host {socket.gethostname()} has no such interface with an "
        f"address; it has {', '.join(sorted(there))}"
    )


def _addresses(host: str) -> set[str]:
    """Those that a name leads to here; none for a name that isn't known."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return set()


def _link_local(address: str) -> bool:
    """Whether an address is of no use to another host, which has its own names of interfaces."""
    return ipaddress.ip_address(address).is_link_local and ":" in address


def unreachable(
    workers: Sequence[str], rank: int, wait_for_name: Callable[[str, str, socket.gaierror], bool]
) -> str:
    """Connects to every other worker, and says what is wrong with the first that fails, or "".

    TensorFlow's collectives connect every worker with others, and wait without a word for one
    whose name is unknown here or whose port a firewall shuts.

    Args:
        workers: host:port by rank.
        rank: this worker's.
        wait_for_name: called where a name isn't known, with worker, host and error; waits a
            moment and says whether to try again.
    """
    for number, address in enumerate(workers):
        if number == rank:
            continue
        problem = _try(f"worker {number}", address, wait_for_name)
        if problem:
            return f"can't reach worker {number} at {address} ({problem}); check name and firewall"
    return ""


def _try(
    worker: str, address: str, wait_for_name: Callable[[str, str, socket.gaierror], bool]
) -> str:
    host, port = split(address)
    while True:
        try:
            with contextlib.closing(socket.create_connection((host, port), timeout=REACH_S)):
                return ""
        except socket.gaierror as error:
            if not wait_for_name(worker, host, error):
                return error.strerror or str(error)
        except OSError as error:
            return error.strerror or str(error)
        except UnicodeError as error:  # a name that isn't one: a label of over 63 characters
            return str(error)
