"""Messages between workers: JSON objects, one a line; long ones are compressed."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from mnist_dist import bounded

LONG_BYTES = 2**14  # from which a message is compressed
COMPRESSED = "zlib"


def pack(message: Mapping[str, Any]) -> bytes:
    """Returns a message as a line; a message to many workers is packed once."""
    line = json.dumps(message, separators=(",", ":")).encode()
    if len(line) > LONG_BYTES:
        line = json.dumps({COMPRESSED: base64.b64encode(zlib.compress(line, 1)).decode()}).encode()
    return line + b"\n"


def unpack(line: bytes, most_bytes: int) -> dict[str, Any]:
    """Returns the message in a line.

    Args:
        line: without its newline.
        most_bytes: that the message may have after decompression.

    Raises:
        ValueError: the line isn't a message.
    """
    message = _json_object(line)
    if set(message) == {COMPRESSED}:
        message = _json_object(_decompressed(message[COMPRESSED], most_bytes))
    return message


def _json_object(line: bytes) -> dict[str, Any]:
    value = bounded.loads(line.decode())
    if not isinstance(value, dict):
        raise ValueError("a line that isn't a JSON object")
    return value


def _decompressed(text: Any, most_bytes: int) -> bytes:
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode(text), most_bytes)
    except (TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"a message that can't be decompressed ({error})") from error
    if reader.unconsumed_tail:
        raise ValueError(f"a message of more than {most_bytes:,} bytes")
    if not reader.eof:
        raise ValueError("a compressed message that isn't whole")
    return data
