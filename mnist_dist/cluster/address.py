"""host:port, as TF_CONFIG and TensorFlow write it; an IPv6 address stands in brackets."""

import re

from mnist_dist.bounded import whole_number

LONGEST = 300


def split(address: str) -> tuple[str, int]:
    """`n1:2000` as ("n1", 2000), `[::1]:2000` as ("::1", 2000).

    Raises:
        ValueError: it isn't host:port, or the port isn't from 1 to 65535.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:\[\]/]+)):([^:]*)", address)
    if not match or len(address) > LONGEST or not address.isprintable():
        raise ValueError("isn't host:port ([host]:port for IPv6)")
    port = whole_number(match[3], 65535)
    if port is None and not match[3].isdigit():
        raise ValueError("isn't host:port ([host]:port for IPv6)")
    if not port:
        raise ValueError("has a port that isn't from 1 to 65535")
    return match[1] or match[2], port


def join(host: str, port: int) -> str:
    """The inverse of `split`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
