"""Damaged IDX files, each a real file of the damage; none may end in anything but one line."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mnist_dist.data import idx
from mnist_dist.errors import UsageError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def encoded(array=IMAGES, magic=None, sizes=None):
    magic = magic if magic is not None else bytes([0, 0, 8, array.ndim])
    sizes = array.shape if sizes is None else sizes
    return magic + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()


@pytest.fixture
def refused(tmp_path):
    """Writes bytes, reads them as an IDX file, returns the error's line."""

    def check(data, dimensions=3):
        path = tmp_path / "file"
        path.write_bytes(data)
        with pytest.raises(UsageError) as caught:
            idx.read(path, dimensions)
        line = str(caught.value)
        assert str(path) in line
        assert "\n" not in line
        return line

    return check


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize("array", [IMAGES, np.array([3, 1, 4], np.uint8)], ids=["images", "labels"])
def test_reads_what_was_written(tmp_path, pack, array):
    path = tmp_path / "any-name"
    path.write_bytes(pack(encoded(array)))
    found = idx.read(path, array.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


def test_reads_more_than_one_chunk(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 1000, 1000), np.uint8)
    (tmp_path / "file").write_bytes(gzip.compress(encoded(array), 1))
    np.testing.assert_array_equal(idx.read(tmp_path / "file", 3), array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "begins with nothing"),
        (b"\0\0", "not an IDX file"),
        (b"PK\3\4 a zip, not IDX", "begins with 504b0304"),
        (encoded(magic=b"\0\0\x0d\x03"), "magic number 00000d03"),
        (encoded(magic=b"\0\0\x08\x02"), "magic number 00000802"),
        (encoded()[:9], "9 bytes of header of 16"),
        (encoded()[:-1], "truncated"),
        (encoded() + b"\0", "the header claims 24 bytes"),
        (encoded(sizes=(2**32 - 1,) * 3), "more than the file can hold"),
        (encoded(np.zeros((0, 0, 0), np.uint8), sizes=(0, 2**32 - 1, 2**32 - 1)), "holds nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses(refused, pack, data, word):
    assert word in refused(pack(data))


def test_says_images_are_no_labels(refused):
    assert "expected 00000801" in refused(encoded(), dimensions=1)


def test_refuses_a_torn_gzip(refused):
    assert "bad gzip" in refused(gzip.compress(encoded())[:-9])


def test_refuses_a_gzip_cut_in_its_checksum(refused):
    assert "bad gzip" in refused(gzip.compress(encoded())[:-1])


@pytest.mark.parametrize("place", [-8, -4, 12], ids=["checksum", "length", "body"])
def test_refuses_a_changed_byte_of_a_gzip(refused, place):
    packed = bytearray(gzip.compress(encoded()))
    packed[place] ^= 0xFF
    refused(bytes(packed))


def test_refuses_what_follows_a_gzip(refused):
    assert "bad gzip" in refused(gzip.compress(encoded()) + b"more")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_takes_no_memory_for_a_false_claim(refused, pack):
    """The first claim can't be; the second could be of a gzip of this size, up to 1032 to 1."""
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)
    for rows in (2**32 - 1, 1000):
        data = pack(encoded(noise, b"\0\0\x08\x03", (rows, 1000, 1000)))
        tracemalloc.start()
        try:
            refused(data)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < 16 << 20


def test_names_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        idx.read(tmp_path / "nothing", 3)


def test_names_what_is_no_file(tmp_path):
    """Reading a pipe that nobody writes to, or an endless device, would never end."""
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "folder"), (tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(UsageError, match=f"a {kind} and no file"):
            idx.read(Path(path), 3)


def test_names_a_path_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match=r"a\\x00b: can't be a path"):
        idx.read(tmp_path / "a\0b", 3)


def test_refuses_more_than_fits_in_memory(refused, monkeypatch):
    monkeypatch.setattr(idx, "MOST_BYTES", 23)
    assert "24 bytes; at most 23 are read" in refused(encoded())
