"""The port and the address on which a worker listens."""

import contextlib
import errno
import ipaddress
import random
import socket

import psutil

from mnist_dist.cluster.address import FIRST_PORT, LAST_PORT, is_loopback, split
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import UsageError, shorten

RANDOM_PORTS = 100  # to try, of a worker whose port nobody has to know before


def candidates(topology: Topology, rank: int) -> list[tuple[str, int]]:
    """Returns (host, port) for each port that worker `rank` may have, the first choice first."""
    host, port = split(topology.workers[rank])
    step = topology.port_step or topology.num_workers
    hosts = (host, *(topology.chief_hosts if rank == 0 else ()))
    numbers = range(topology.port_candidates)
    return [(each, port + number * step) for number in numbers for each in hosts]


def claim(topology: Topology, chosen: str = "") -> tuple[socket.socket, int]:
    """Returns a socket that listens on the first of this worker's ports that is free.

    It listens on the address of the chosen interface. Worker 0 does so only if its host's name
    leads to that address, since the others connect by the name. Otherwise it listens on all of the
    host's addresses, IPv4 and IPv6.

    Args:
        topology: which workers run where.
        chosen: the result of `interface_address`.

    Raises:
        UsageError: no port is free, or this user may not use it.
    """
    if not topology.workers[topology.rank]:
        ports = random.sample(range(FIRST_PORT, LAST_PORT), RANDOM_PORTS)
        address = chosen
    else:
        ports = list(dict.fromkeys(port for _, port in candidates(topology, topology.rank)))
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
        f"worker {topology.rank}: port {shorten(', '.join(map(str, ports)))} of host "
        f"{socket.gethostname()} is in use; end what uses it or give another"
    )


def listen(port: int, backlog: int = 1, address: str = "") -> socket.socket:
    """Returns a socket that listens on a port.

    Args:
        port: its number.
        backlog: length of the accept queue.
        address: one of this host's; empty for all, those of IPv6 too if it has any.

    Raises:
        OSError: the port is in use, or this user may not use it.
    """
    both = not address and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in address else socket.AF_INET
    # asyncio sends small messages at once (TCP_NODELAY) if the protocol is given; else a message of
    # worker 0 would wait up to 40 ms for the acknowledgement of the one before.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
    """Returns the IPv4 address of a network interface, or else its IPv6 address; "" for no name.

    Raises:
        UsageError: this host has no such interface; the message lists those that it has.
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


def own_addresses() -> list[str]:
    """Returns the addresses of this host's network interfaces, the likeliest to be reached first.

    That is the one from which this host reaches others by default; loopback comes last.
    """
    found = list[str]()
    for family, documented in (
        (socket.AF_INET, "192.0.2.1"),  # of a range for documentation; UDP, so nothing is sent
        (socket.AF_INET6, "2001:db8::1"),
    ):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((documented, 9))
            found.append(str(probe.getsockname()[0]))
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    there = [one for name, all_of in psutil.net_if_addrs().items() if name in up for one in all_of]
    for family in (socket.AF_INET, socket.AF_INET6):
        found += [one.address for one in there if one.family == family]
    usable = [each for each in dict.fromkeys(found) if not _link_local(each)]
    return sorted(usable, key=is_loopback)  # stable


def _addresses(host: str) -> set[str]:
    """Returns the addresses of a host's name; none for an unknown name."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return set()


def _link_local(address: str) -> bool:
    """Returns whether an IPv6 address is valid on one link only, so that others can't use it."""
    return ipaddress.ip_address(address.partition("%")[0]).is_link_local and ":" in address
