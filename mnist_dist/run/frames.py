"""The TFRecord format of event files: frames of length, its checksum, record, its checksum.

The checksum is TensorFlow's masked CRC-32C. TensorFlow's own reader stops at the first damaged
record; this one continues after it.
"""

import re
import struct
from collections.abc import Iterator

HEAD_BYTES, TAIL_BYTES = 12, 4
NOT_ZERO = re.compile(rb"[^\0]")


def _table() -> list[int]:
    """The CRC of each byte by Castagnoli's polynomial, bits reversed."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def checksum(data: bytes) -> int:
    """Returns the masked CRC-32C, uint32."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """Returns a record with its length and checksums, as the file has it."""
    head = struct.pack("<Q", len(record))
    return head + struct.pack("<I", checksum(head)) + record + struct.pack("<I", checksum(record))


def frames(data: bytes) -> Iterator[bytes]:
    """Yields the valid frames of a file, and skips damaged bytes between them."""
    start = 0
    while start + HEAD_BYTES + TAIL_BYTES <= len(data):
        size, crc = struct.unpack_from("<QI", data, start)
        end = start + HEAD_BYTES + size + TAIL_BYTES
        if end <= len(data) and checksum(data[start : start + 8]) == crc:
            record = data[start + HEAD_BYTES : end - TAIL_BYTES]
            if struct.unpack_from("<I", data, end - TAIL_BYTES)[0] == checksum(record):
                yield data[start:end]
                start = end
                continue
        # A crash often leaves zeros, which can't be a frame: skip them, but for the length's.
        found = NOT_ZERO.search(data, start)
        start = max(start + 1, found.start() - 7) if found else len(data)


def record_of(framed: bytes) -> bytes:
    """Returns the record of a valid frame."""
    return framed[HEAD_BYTES:-TAIL_BYTES]
