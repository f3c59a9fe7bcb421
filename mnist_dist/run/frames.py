"""TFRecord's frames, which event files are made of: length, its checksum, the record, its checksum.

The checksum is CRC-32C, turned and shifted, as TensorFlow has it. In Python: records are small.
"""

import re
import struct
from collections.abc import Iterator

HEAD_BYTES, TAIL_BYTES = 12, 4
SOME = re.compile(rb"[^\0]")


def _table() -> list[int]:
    """The remainder of each byte by Castagnoli's polynomial, bits reversed."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def checksum(data: bytes) -> int:
    """The masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """A record as it stands in the file."""
    head = struct.pack("<Q", len(record))
    return head + struct.pack("<I", checksum(head)) + record + struct.pack("<I", checksum(record))


def frames(data: bytes) -> Iterator[bytes]:
    """The whole frames of a file; what stands between and can't be read is stepped over."""
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
        # What a crash leaves is often zeros, which are no frame: on to where one can begin.
        some = SOME.search(data, start)
        start = max(start + 1, some.start() - 7) if some else len(data)


def record_of(framed: bytes) -> bytes:
    """The record in a whole frame."""
    return framed[HEAD_BYTES:-TAIL_BYTES]
