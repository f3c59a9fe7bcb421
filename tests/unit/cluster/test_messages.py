"""Messages between workers, as lines."""

import base64
import json
import zlib

import pytest

from mnist_dist.cluster.messages import LONG_BYTES, pack, unpack

MOST_BYTES = 100_000


@pytest.mark.parametrize("length", [0, LONG_BYTES // 2, 2 * LONG_BYTES, MOST_BYTES // 2])
def test_a_message_is_read_as_it_was_packed(length):
    message = {"value": "\n" * (length // 2), "lost": "é"}
    line = pack(message)
    assert line.index(b"\n") == len(line) - 1
    assert unpack(line[:-1], MOST_BYTES) == message


def test_long_messages_are_compressed():
    assert pack({"value": "x" * 100}) == b'{"value":"' + b"x" * 100 + b'"}\n'
    assert len(pack({"value": "x" * 2 * LONG_BYTES})) < LONG_BYTES / 10


def compressed(data):
    return {"zlib": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ([1], "a line that isn't a JSON object"),
        (compressed(zlib.compress(b"[1]")), "a line that isn't a JSON object"),
        (compressed(b"nonsense"), "a message that can't be decompressed"),
        ({"zlib": "a"}, "a message that can't be decompressed"),
        ({"zlib": 5}, "a message that can't be decompressed"),
        (compressed(zlib.compress(b'{"beat":1}')[:-1]), "a compressed message that isn't whole"),
        (
            compressed(zlib.compress(b" " * 2 * MOST_BYTES)),
            "a message of more than 100,000 bytes",
        ),
    ],
)
def test_what_is_no_message_is_refused(message, expected):
    with pytest.raises(ValueError, match=f"^{expected}"):
        unpack(json.dumps(message).encode(), MOST_BYTES)
