"""JSON files that end with a SHA-256 of everything before it, so that any changed bit shows."""

import hashlib
import json
from typing import Any

TRAILER = b',\n "digest": "%b"\n}\n'


def with_digest(record: dict[str, Any]) -> bytes:
    """The file's contents: the record as JSON, and its digest as the last key."""
    body = json.dumps(record, indent=1).encode().removesuffix(b"\n}")
    return body + _trailer(body)


def verified(data: bytes) -> dict[str, Any] | None:
    """The record that `with_digest` was given; None if a bit of the file has changed."""
    body = data[: -len(_trailer(b""))]
    return json.loads(body + b"\n}") if data == body + _trailer(body) else None


def _trailer(body: bytes) -> bytes:
    return TRAILER % hashlib.sha256(body).hexdigest().encode()
