"""IDX folders, the embedded MNIST, the split and the fingerprint; without TensorFlow."""

import gzip
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from mnist_dist.data import sources
from mnist_dist.errors import UsageError
from tests.mnist_files import fashion_mnist

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = sources.IDX_FILES


def write_idx(path, array):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    data = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def folder(tmp_path):
    """A small set: 7 training and 3 test images of 2x4, labels 0 to 4."""
    rng = np.random.default_rng(1)
    write_idx(tmp_path / TRAIN_IMAGES, rng.integers(0, 256, (7, 2, 4)))
    write_idx(tmp_path / f"{TRAIN_LABELS}.gz", np.array([0, 1, 2, 3, 4, 0, 1]))
    write_idx(tmp_path / f"{TEST_IMAGES}.gz", rng.integers(0, 256, (3, 2, 4)))
    write_idx(tmp_path / TEST_LABELS, np.array([4, 0, 2]))
    return tmp_path


def refused(folder, validation_size=0, given=True):
    with pytest.raises(UsageError) as caught:
        sources.load(str(folder), "", validation_size, given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_embedded_mnist_where_no_folder_is_given(tmp_path):
    data = sources.load(str(tmp_path / "nowhere"), "", 5000, given=False)
    assert data.train.images.shape == (55000, 28, 28, 1)
    assert data.validation.images.shape == (5000, 28, 28, 1)
    assert data.test.images.shape == (10000, 28, 28, 1)
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert data.num_classes == 10
    assert data.validation.labels[:5].tolist() == [5, 0, 4, 1, 9]  # as the notebook split it
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(data.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    assert data.source == (
        f"embedded MNIST ({sources.embedded_folder()}): 55000 train, 5000 validation, 10000 test"
        ", 28x28x1, 10 classes (0 to 9)"
    )


def test_embedded_files_are_verified(tmp_path, monkeypatch):
    """One pixel of one test image, in a file that is whole in every other way."""
    copy = tmp_path / "mnist"
    shutil.copytree(sources.embedded_folder(), copy)
    path = copy / f"{TEST_IMAGES}.gz"
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[16 + 300] ^= 1
    path.write_bytes(gzip.compress(bytes(data), 1))
    monkeypatch.setattr(sources, "embedded_folder", lambda: copy)
    line = refused(tmp_path / "nowhere", given=False)
    assert TEST_IMAGES in line
    assert "reinstall" in line
    shutil.rmtree(copy)
    assert "reinstall" in refused(tmp_path / "nowhere", given=False)


def test_idx_folder_gzipped_or_not(folder):
    data = sources.load(str(folder), "", 2)
    assert data.source == (
        f"IDX files in {folder}: 5 train, 2 validation, 3 test, 2x4x1, 5 classes (0 to 4)"
    )
    assert data.num_classes == 5
    assert data.validation.labels.tolist() == [0, 1]
    assert data.train.labels.tolist() == [2, 3, 4, 0, 1]
    assert data.train.images.shape == (5, 2, 4, 1)
    everything = sources.load(str(folder), "", 0)
    assert everything.validation.images.shape == (0, 2, 4, 1)
    np.testing.assert_array_equal(
        np.concatenate([data.validation.images, data.train.images]), everything.train.images
    )


def test_a_file_and_its_gzip_must_be_the_same(folder):
    write_idx(folder / TRAIN_LABELS, np.array([0, 1, 2, 3, 4, 0, 1]))
    assert sources.load(str(folder), "", 0).train.labels.tolist() == [0, 1, 2, 3, 4, 0, 1]
    write_idx(folder / TRAIN_LABELS, np.array([1, 1, 1, 1, 1, 1, 4]))
    line = refused(folder)
    assert f"{folder / TRAIN_LABELS} and {TRAIN_LABELS}.gz beside it differ" in line


def test_classes_without_images_are_said(folder):
    write_idx(folder / f"{TRAIN_LABELS}.gz", np.array([0, 0, 2, 3, 8, 0, 2]))
    source = sources.load(str(folder), "", 0).source
    assert source.endswith("9 classes (0 to 8; no training image of 1, 4, 5, 6, 7)")


def test_fingerprint_tells_data_and_splits_apart(folder):
    def fingerprint(validation_size=2):
        return sources.load(str(folder), "", validation_size).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(1) != first
    seeds = [sources.load(str(folder), "", 2, True, seed).fingerprint for seed in (0, 1)]
    assert len({first, *seeds}) == 3
    write_idx(folder / TEST_LABELS, np.array([4, 0, 3]))
    other = fingerprint()
    assert other != first
    images = np.random.default_rng(1).integers(0, 256, (7, 2, 4))
    images[6, 1, 3] ^= 1
    write_idx(folder / TRAIN_IMAGES, images)
    assert fingerprint() not in (first, other)


@pytest.mark.parametrize("name", sources.IDX_FILES[:3])
def test_names_the_missing_file(folder, name):
    for path in folder.glob(f"{name}*"):
        path.unlink()
    line = refused(folder)
    assert name in line
    assert all(other not in line for other in sources.IDX_FILES if other != name)


def test_refuses_a_file_in_place_of_the_folder(folder):
    assert "a file" in refused(folder / TRAIN_IMAGES)


def test_refuses_a_path_that_cannot_be(tmp_path):
    assert "File name too long" in refused(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("name", "array", "word"),
    [
        (TRAIN_IMAGES, np.zeros((6, 2, 4)), "6 training images and 7 labels"),
        (TEST_LABELS, np.zeros(4), "3 test images and 4 labels"),
        (TEST_LABELS, np.array([4, 5, 2]), "test label 5 is outside the 5 classes"),
        (TRAIN_IMAGES, np.zeros((7, 4, 2)), "the files don't belong together"),
    ],
    ids=["images", "labels", "class", "shape"],
)
def test_refuses_files_that_do_not_fit(folder, name, array, word):
    for path in folder.glob(f"{name}*"):
        path.unlink()
    write_idx(folder / name, array)
    assert word in refused(folder)


def test_refuses_an_empty_set(folder):
    for name, array in ((TEST_IMAGES, np.zeros((0, 2, 4))), (TEST_LABELS, np.zeros(0))):
        for path in folder.glob(f"{name}*"):
            path.unlink()
        write_idx(folder / name, array)
    assert f"{TEST_IMAGES}: holds nothing" in refused(folder)


@pytest.mark.parametrize("size", [-1, 7, 8])
def test_refuses_a_validation_size(folder, size):
    assert "give 0 to 6" in refused(folder, size)


def test_fashion_mnist_of_debian():
    folder = fashion_mnist()
    data = sources.load(str(folder), "", 5000)
    assert data.train.images.shape == (55000, 28, 28, 1)
    assert data.num_classes == 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.source.startswith(f"IDX files in {folder}: 55000 train")


def test_needs_no_tensorflow(folder):
    code = (
        "import sys; from mnist_dist.data import sources; sources.load(sys.argv[1], '', 0); "
        "assert not {'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)
