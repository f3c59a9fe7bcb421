"""A record in a JSON file that ends with a digest of all that stands above it: each bit counts."""

import hashlib
import json
from typing import Any

SEAL = b',\n "digest": "%b"\n}\n'


def sealed(record: dict[str, Any]) -> bytes:
    """The file."""
    body = json.dumps(record, indent=1).encode().removesuffix(b"\n}")
    return body + _seal(body)


def unsealed(data: bytes) -> dict[str, Any] | None:
    """What `sealed` was given; None where one bit is another."""
    body = data[: -len(_seal(b""))]
    return json.loads(body + b"\n}") if data == body + _seal(body) else None


def _seal(body: bytes) -> bytes:
    return SEAL % hashlib.sha256(body).hexdigest().encode()
