"""Folders of IDX files: MNIST's first images, and the whole Fashion-MNIST."""

import gzip
import os
import struct
from pathlib import Path

import pytest

from mnist_dist.data import sources


def cut(folder: Path, train: int, test: int, source: Path | None = None) -> None:
    """Writes the first `train` training and `test` test images, and their labels.

    Args:
        folder: is made if it isn't there.
        train: images.
        test: images.
        source: folder of gzipped IDX files; None for the embedded MNIST.
    """
    folder.mkdir(exist_ok=True)
    for name, count in zip(sources.IDX_FILES, (train, train, test, test), strict=True):
        data = gzip.decompress(((source or sources.embedded_folder()) / f"{name}.gz").read_bytes())
        head = 4 + 4 * data[3]
        size = (len(data) - head) // struct.unpack(">I", data[4:8])[0]
        body = data[head : head + count * size]
        (folder / name).write_bytes(data[:4] + struct.pack(">I", count) + data[8:head] + body)


def fashion_mnist() -> Path:
    """Debian's Fashion-MNIST. Without it the test is skipped, but not in CI, where it fails."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"{folder} is missing: apt-get install dataset-fashion-mnist")
    return folder
