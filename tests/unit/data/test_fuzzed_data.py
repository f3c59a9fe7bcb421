"""IDX files and .npz archives with any damage: read as they are or refused in one line, bounded."""

import gzip
import io
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_dist.data import idx, npz, sources
from mnist_dist.data.split import Split
from tests.unit.hostile import bounded, damaged, fuzzed

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
IDX = b"\0\0\x08\3" + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()
SIZES = st.sampled_from([0, 1, 3, 255, 2**16, 2**31, 2**32 - 1])


def packed(save=np.savez):
    file = io.BytesIO()
    save(file, x_train=IMAGES, y_train=[0, 1, 2], x_test=IMAGES[:2], y_test=[1, 0])
    return file.getvalue()


@fuzzed(150)
@given(damaged([IDX, gzip.compress(IDX), gzip.compress(IDX, 0)]), st.sampled_from([1, 3]))
def test_idx(data, dimensions):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        with bounded():
            found = idx.read(path, dimensions)
            assert found.ndim == dimensions
            assert found.size <= 1032 * len(data)


@fuzzed()
@given(st.tuples(SIZES, SIZES, SIZES), st.sampled_from([bytes, gzip.compress]), st.binary())
def test_idx_that_claims_too_much(sizes, pack, body):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(pack(b"\0\0\x08\3" + struct.pack(">3I", *sizes) + body))
        with bounded():
            assert idx.read(path, 3).shape == sizes


def test_a_gzip_bomb():
    """100 KB that unpack to 100 MB, which the header claims, or twice that, or nothing like it."""
    zeros = bytes(100 << 20)
    for sizes in ((100, 1024, 1024), (100, 1024, 2048), (1, 28, 28)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            path.write_bytes(gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", *sizes) + zeros, 9))
            with bounded():
                idx.read(path, 3)


@fuzzed(150)
@given(damaged([packed(), packed(np.savez_compressed)]))
def test_npz(data):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "d.npz").write_bytes(data)
        with bounded():
            sources.load(folder, "", 0)


@fuzzed(150)
@given(
    descr=st.sampled_from(["|u1", "<f8", ">i2", "|O", "<U9", "|b1", "V8", "<c16", "", "x", "<f3"]),
    shape=st.sampled_from(["(3,)", "()", "(2, 2)", "3", "(-1,)", "(9" + "9" * 99 + ",)", "(((("]),
    fortran=st.sampled_from(["False", "True", "None", "1"]),
    body=st.binary(max_size=40),
    kind=st.sampled_from([*range(15), 99]),
)
def test_members_of_an_npz(descr, shape, fortran, body, kind):
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + body
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d.npz")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", data)
        # The compression's number, in the member's own head and in the archive's list.
        raw = bytearray(path.read_bytes())
        for place in (8, raw.index(b"PK\1\2") + 10):
            raw[place] = kind
        path.write_bytes(raw)
        with bounded():
            found = npz.read(path, ["a"], 100)["a"]
            assert found.dtype.kind in "biuf"
            assert found.nbytes <= 100


@fuzzed()
@given(st.text(max_size=300), st.integers(-1, 10**30), st.booleans())
def test_names_of_folders(name, size, deep):
    tiny = Split(IMAGES[..., np.newaxis], np.arange(3, dtype=np.int32))
    with tempfile.TemporaryDirectory() as folder, bounded(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_embedded", lambda: (tiny, tiny))
        sources.load(f"{folder}/{'x/' * 3000 * deep}{name.replace('..', '')}/nowhere", "", size)
