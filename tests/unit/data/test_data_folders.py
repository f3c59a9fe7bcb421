"""Data that was given is used or refused, never replaced: each layout, and what is none."""

import gzip
import os
import re
import struct
import zipfile

import numpy as np
import pytest

from mnist_dist.config import Config
from mnist_dist.data import find, npz, sources
from mnist_dist.errors import UsageError

RNG = np.random.default_rng(3)
IMAGES = (RNG.integers(0, 256, (7, 2, 4), np.uint8), RNG.integers(0, 256, (3, 2, 4), np.uint8))
LABELS = (np.array([0, 1, 2, 3, 4, 0, 1], np.uint8), np.array([4, 0, 2], np.uint8))
ARRAYS = (IMAGES[0], LABELS[0], IMAGES[1], LABELS[1])
PACKED = dict(zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS, strict=True))


def idx_bytes(array):
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


def write(folder, names, arrays=ARRAYS):
    """Writes arrays as IDX files, gzipped where the name says so."""
    for name, array in zip(names, arrays, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = idx_bytes(np.ascontiguousarray(array))
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return folder


def emnist(which):
    return [
        f"emnist-{which}-{part}-{kind}-ubyte.gz"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]


KAGGLE = [name.replace("-idx", ".idx") for name in sources.IDX_FILES]


def same_as_given(data):
    for split, images, labels in zip((data.train, data.test), IMAGES, LABELS, strict=True):
        np.testing.assert_array_equal(split.images[..., 0], images)
        np.testing.assert_array_equal(split.labels, labels)
        assert split.images.flags.c_contiguous
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize(
    "names",
    [
        sources.IDX_FILES,
        KAGGLE,
        [f"{name}.gz" for name in KAGGLE],
        [f"{name}/{name}" for name in sources.IDX_FILES],  # as Kaggle unpacks them
        [f"{name}/{name}" for name in KAGGLE],
        [f"archive/{name}" for name in KAGGLE],
        [f"MNIST/{name}.gz" for name in sources.IDX_FILES],
        [*KAGGLE[:2], *sources.IDX_FILES[2:]],
    ],
    ids=["lecun", "kaggle", "gzipped", "unpacked", "dots", "deeper", "raw", "mixed"],
)
def test_the_names_that_are_read(tmp_path, names):
    data = sources.load(str(write(tmp_path, names)), "", 0)
    same_as_given(data)
    assert data.source.startswith("IDX files in ")


def test_kaggles_download_has_each_file_twice(tmp_path):
    write(tmp_path, KAGGLE)
    write(tmp_path, [f"{name}/{name}" for name in sources.IDX_FILES], [a * 0 for a in ARRAYS])
    same_as_given(sources.load(str(tmp_path), "", 0))


def test_emnist_is_turned_upright(tmp_path):
    lying = [images.transpose(0, 2, 1) for images in IMAGES]
    write(tmp_path, emnist("digits"), (lying[0], LABELS[0], lying[1], LABELS[1]))
    data = sources.load(str(tmp_path), "", 0)
    same_as_given(data)
    assert data.source.startswith("EMNIST digits files in ")


def test_emnist_letters_begin_at_one(tmp_path):
    lying = [images.transpose(0, 2, 1) for images in IMAGES]
    write(tmp_path / "gzip", emnist("letters"), (lying[0], LABELS[0] + 1, lying[1], LABELS[1] + 1))
    data = sources.load(str(tmp_path), "", 0)
    same_as_given(data)
    assert data.num_classes == 5
    write(tmp_path / "gzip", emnist("letters"), ARRAYS)
    with pytest.raises(UsageError, match="EMNIST letters with label 0"):
        sources.load(str(tmp_path), "", 0)


@pytest.mark.parametrize("place", ["mnist.npz", "sub/other.npz"])
@pytest.mark.parametrize("given", ["folder", "file"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_as_keras_has_it(tmp_path, place, given, save):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    save(path, **PACKED)
    same_as_given(sources.load(str(path if given == "file" else tmp_path), "", 0))


def test_an_npz_and_idx_files_of_the_same_data_are_the_same(tmp_path):
    """So a run of the one goes on with the other. Labels as columns of int64, as of CIFAR."""
    columns = {k: a[:, np.newaxis].astype(int) if k[0] == "y" else a for k, a in PACKED.items()}
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz/d.npz", **columns)
    packed = sources.load(str(tmp_path / "npz"), "", 2)
    assert packed.fingerprint == sources.load(str(write(tmp_path / "i", KAGGLE)), "", 2).fingerprint
    channels = {k: np.repeat(a[..., None], 3, -1) if k[0] == "x" else a for k, a in PACKED.items()}
    np.savez(tmp_path / "npz/d.npz", **channels)
    assert sources.load(str(tmp_path / "npz"), "", 0).test.images.shape == (3, 2, 4, 3)


def test_a_folder_that_was_named_is_used_or_refused(tmp_path):
    """The default folder may be missing or empty: then the embedded MNIST is used."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/.DS_Store").write_text("hidden files are nothing")
    for name, reason in (("nowhere", "no such folder"), ("empty", "the folder is empty")):
        with pytest.raises(UsageError, match=f"{reason}.*embedded MNIST leave --data_dir out"):
            sources.load(str(tmp_path / name), "", 0)
        source = sources.load(str(tmp_path / name), "", 0, given=False).source
        assert source == (
            f"embedded MNIST ({sources.embedded_folder()}): 60000 train, 0 validation, "
            "10000 test, 28x28x1, 10 classes (0 to 9)"
        )


def test_other_files_are_refused_where_the_folder_was_given(tmp_path):
    (tmp_path / "mnist/3.0.1").mkdir(parents=True)
    for name in ("a.doc", "b.csv", "c", "d", "e", "f" * 200):
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError) as caught:
        sources.load(str(tmp_path), "", 0)
    line = str(caught.value)
    assert (
        f"{tmp_path}: it has a.doc, b.csv, c, d, e, ...; what is read is IDX files (train-images"
        in line
    )
    assert "--dataset=NAME" in line
    assert "x_train" in line
    # The default folder is where TFDS's sets lie: nothing of it was meant for this run.
    assert "embedded" in sources.load(str(tmp_path), "", 0, given=False).source


def test_what_lies_below_the_default_folder_was_not_meant(tmp_path):
    write(tmp_path / "fashion", sources.IDX_FILES)
    same_as_given(sources.load(str(tmp_path), "", 0))
    assert "embedded" in sources.load(str(tmp_path), "", 0, given=False).source
    same_as_given(sources.load(str(write(tmp_path, KAGGLE)), "", 0, given=False))


def test_given_is_another_value_than_the_default():
    assert not Config().data_flags[3]
    assert Config(data_dir="/elsewhere").data_flags == ("/elsewhere", "", 5000, True, None, "")
    shuffled = Config(validation="shuffled", seed=3, class_names="names")
    assert shuffled.data_flags[3:] == (False, 3, "names")


def test_more_than_one_set_is_refused(tmp_path):
    write(tmp_path / "a", sources.IDX_FILES)
    write(tmp_path / "b", KAGGLE)
    with pytest.raises(UsageError, match=r"more than one set \(a, b\)"):
        sources.load(str(tmp_path), "", 0)
    write(tmp_path, emnist("letters"))
    write(tmp_path, emnist("mnist"))
    with pytest.raises(UsageError, match=r"more than one set \(emnist-letters, emnist-mnist\)"):
        sources.load(str(tmp_path), "", 0)
    np.savez(tmp_path / "a/x.npz", **PACKED)
    with pytest.raises(UsageError, match=r"more than one set \(IDX files, x.npz\)"):
        sources.load(str(tmp_path / "a"), "", 0)


def test_half_of_a_subset_is_refused(tmp_path):
    write(tmp_path, [KAGGLE[0], *KAGGLE[2:]], [ARRAYS[0], *ARRAYS[2:]])
    for given in (True, False):
        with pytest.raises(UsageError, match="train-labels-idx1-ubyte missing beside the others"):
            sources.load(str(tmp_path), "", 0, given)
    (tmp_path / KAGGLE[0]).unlink()
    with pytest.raises(UsageError, match="a test set without a training set"):
        sources.load(str(tmp_path), "", 0)


def test_a_test_set_without_labels_or_none(tmp_path):
    write(tmp_path, KAGGLE[:3], ARRAYS[:3])
    data = sources.load(str(tmp_path), "", 2, True, 0)
    assert "5 train, 2 validation, 3 test images without labels, 2x4x1" in data.source
    np.testing.assert_array_equal(data.unlabelled.images[..., 0], IMAGES[1])
    assert data.test.images.shape == (0, 2, 4, 1)
    (tmp_path / KAGGLE[2]).unlink()
    none = sources.load(str(tmp_path), "", 2, True, 0)
    assert "5 train, 2 validation, no test set, 2x4x1, 5 classes (0 to 4)" in none.source
    assert not len(none.unlabelled.images)
    assert none.fingerprint != data.fingerprint


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / sources.IDX_FILES[0])
    with pytest.raises(UsageError, match=f"it has {sources.IDX_FILES[0]}; what is read"):
        sources.load(str(tmp_path), "", 0)


def test_a_path_with_a_zero_byte(tmp_path):
    with pytest.raises(UsageError, match="can't be a path"):
        sources.load(f"{tmp_path}/a\0b", "", 0)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_train": None}, "no train images in it (it has y_train, x_test, y_test)"),
        ({"x_test": IMAGES[1] / 255.0}, "x_test is float64 of 3 dimensions; give uint8"),
        ({"x_test": IMAGES[1][0]}, "x_test is uint8 of 2 dimensions"),
        ({"y_test": LABELS[1] / 2}, "y_test is float64 of 1 dimensions; give whole numbers"),
        ({"y_train": np.eye(7, 5, dtype=int)}, "y_train is int64 of 2 dimensions"),
        ({"y_test": np.array([-1, 0, 2])}, "y_test has labels that aren't 0 to 9999"),
        ({"y_train": LABELS[0].astype(int) + 2**33}, "y_train has labels that aren't 0 to 9999"),
        ({"y_train": np.array([Evil()] * 7)}, "y_train.npy is of object, not of numbers"),
        ({"y_train": np.array(["a"] * 7)}, "not of numbers"),
        ({"x_test": np.zeros((0, 2, 4), np.uint8)}, "3 labels"),
        ({"x_train": np.zeros((7, 3, 4, 8), np.uint8)}, "its channels seem to come first"),
        ({"train_images": IMAGES[0]}, "x_train and train_images are both the train images"),
        ({"x_test": None}, "y_test has no test images beside it"),
        ({"y_train": np.full(7, 3), "y_test": np.full(3, 3)}, "all training images are of class 3"),
    ],
)
def test_an_npz_that_does_not_fit(tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    arrays = {k: a for k, a in {**PACKED, **changes}.items() if a is not None}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UsageError, match=re.escape(said)):
        sources.load(str(tmp_path), "", 0)
    assert not (tmp_path / "evil").exists()


def member(header, body=b""):
    text = f"{header}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


HEADER = "{'descr': '|u1', 'fortran_order': %s, 'shape': %s}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (member(HEADER % (False, "(4,)"), b"abc"), "isn't as long as it says"),
        (member(HEADER % (False, "(4,)"), b"abcde"), "isn't as long as it says"),
        (member((HEADER % (False, "(4, 4)"))[:-9]), "not an array's header"),
        (member(HEADER.replace("|u1", "|O") % (False, "(4,)"), b"x" * 32), "not of numbers"),
        (member(HEADER.replace("|u1", "|Z9") % (False, "(4,)"), b"x" * 32), "damaged"),
        (member(HEADER % (False, f"({2**40}, {2**40})")), "claims 1208925819614629174706176 bytes"),
        (member(HEADER % (False, "(-4,)"), b"abcd"), "not an array's header"),
        (member(HEADER % (False, f"({'9' * 5000},)")), "damaged"),
        (member("(" * 9000), "damaged"),
        (member("-" * 9000 + "1"), "damaged"),
        (b"\x93NUMPY\2\0" + struct.pack("<I", 2**31), "not NumPy's format 1.0"),
        (b"\x80\4.", "damaged"),
        (b"", "damaged"),
    ],
)
def test_a_damaged_member(tmp_path, data, said):
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(UsageError, match=re.escape(said)):
        npz.read(tmp_path / "d.npz", ["a"], 1 << 20)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_never_uses(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "d.npz", "w", kind) as archive:
        archive.writestr("a.npy", member(HEADER % (False, "(4,)"), b"abcd"))
    with pytest.raises(UsageError, match="compressed as NumPy never does"):
        npz.read(tmp_path / "d.npz", ["a"], 9)


def test_arrays_as_they_were(tmp_path):
    wanted = {
        "c": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "none": np.zeros((0, 3), np.float32),
    }
    np.savez(tmp_path / "d.npz", more=np.zeros(9), **wanted)
    found = npz.read(tmp_path / "d.npz", list(wanted), 48)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with pytest.raises(UsageError, match=r"c\.npy claims 48 bytes; at most 47 are read"):
        npz.read(tmp_path / "d.npz", list(wanted), 47)


def test_an_archive_that_is_none(tmp_path):
    (tmp_path / "d.npz").write_text("no zip")
    with pytest.raises(UsageError, match=r"d.npz: damaged \(File is not a zip file\)"):
        sources.load(str(tmp_path), "", 0)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UsageError, match="not a file"):
        npz.read(tmp_path / "pipe.npz", ["a"], 9)


def test_a_folder_of_too_many_files(tmp_path, monkeypatch):
    """Only so many names are read; such a folder holds no set, and one beside it is found."""
    monkeypatch.setattr(find, "MOST_ENTRIES", 5)
    names = [f"{name}.gz" for name in find.idx_files.IDX_FILES]
    write(tmp_path / "many", names)
    assert find.find(tmp_path / "many", given=True) is not None
    for number in range(50):
        (tmp_path / "many" / f"{number}.txt").write_text("")
    with pytest.raises(UsageError, match=r"many: it has .*, \.\.\.; what is read is IDX files"):
        find.find(tmp_path / "many", given=True)
    with pytest.raises(UsageError, match=r"it has many; what is read is IDX files"):
        find.find(tmp_path, given=True)
    write(tmp_path / "few", names)
    found = find.find(tmp_path, given=True)
    assert found is not None
    assert {path.parent.name for paths in found.files.values() for path in paths} == {"few"}
