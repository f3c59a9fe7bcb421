"""host:port, as TF_CONFIG and TensorFlow write it; an IPv6 address stands in brackets."""

import ipaddress
import re

from mnist_dist.bounded import whole_number

FIRST_PORT, LAST_PORT = 15000, 32000
"""Where workers listen: below the ports that Linux gives to outgoing connections."""

CANDIDATES = 8
"""How many ports a worker may try."""

LONGEST = 300
FORM = "isn't host:port ([host]:port for IPv6)"


def split(address: str) -> tuple[str, int]:
    """`n1:2000` as ("n1", 2000), `[::1]:2000` as ("::1", 2000).

    Raises:
        ValueError: it isn't host:port, or the port isn't from 1 to 65535.
    """
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\s:\[\]/]+)):([0-9]+)", address)
    if not match or len(address) > LONGEST or not address.isprintable():
        raise ValueError(FORM)
    if match[1]:
        try:
            ipaddress.IPv6Address(match[1])
        except ValueError as error:
            raise ValueError(FORM) from error
    port = whole_number(match[3], 65535)
    if not port:
        raise ValueError("has a port that isn't from 1 to 65535")
    return match[1] or match[2], port


def join(host: str, port: int) -> str:
    """The inverse of `split`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Returns whether a host's name or address leads to its own host, on every host."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
