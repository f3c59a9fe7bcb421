"""Each format of docs/data.md, on small files made as the real ones are."""

import os
import re

import numpy as np
import pytest

from mnist_dist.data import csv_files, decode, idx, sources
from mnist_dist.errors import UsageError
from tests.unit.data import sets
from tests.unit.data.sets import TEST, TRAIN, VALIDATION

ARRAYS = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*TRAIN, *TEST), strict=True))


def load(folder, validation_size=0, **more):
    return sources.load(str(folder), "", validation_size, **more)


def same(split, expected):
    """A split with these images, grey or in colour, and labels."""
    images, labels = expected
    images = images if images.ndim == 4 else images[..., np.newaxis]
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)


def refused(folder, *words, **more):
    with pytest.raises(UsageError) as caught:
        load(folder, **more)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


# CSV


def test_kaggles_tables(tmp_path):
    sets.kaggle(tmp_path)
    data = load(tmp_path)
    same(data.train, TRAIN)
    assert not len(data.test.labels)
    np.testing.assert_array_equal(data.unlabelled.images[..., 0], TEST[0])
    assert data.source == (
        f"CSV files in {tmp_path}: 12 train, 0 validation, 6 test images without labels, 4x4x1, "
        "3 classes (0 to 2)"
    )


@pytest.mark.parametrize(
    ("train", "test", "header"),
    [
        ("sign_mnist_train.csv", "sign_mnist_test.csv", "pixel{}"),
        ("fashion-mnist_train.csv", "fashion-mnist_test.csv", "pixel{}"),
        ("mnist_train.csv", "mnist_test.csv", "1x{}"),
        ("mnist_train.csv.gz", "mnist_test.csv.gz", ""),
        ("sign_mnist_train/sign_mnist_train.csv", "sign_mnist_test/sign_mnist_test.csv", "pixel{}"),
    ],
)
def test_tables_with_a_labelled_test_set(tmp_path, train, test, header):
    import gzip

    for name in (train, test):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    sets.kaggle(tmp_path, train, test, header, labelled=True)
    for path in tmp_path.glob("*.gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    data = load(tmp_path)
    same(data.train, TRAIN)
    same(data.test, TEST)


def test_emnists_tables_lie_on_their_side(tmp_path):
    sets.kaggle(tmp_path, "emnist-letters-train.csv", "emnist-letters-test.csv", "", True)
    for path in tmp_path.glob("emnist*"):
        rows = [row.partition(",") for row in path.read_text().splitlines()]
        path.write_text("".join(f"{int(label) + 1},{rest}\n" for label, _, rest in rows))
    data = load(tmp_path)
    same(data.train, (TRAIN[0].transpose(0, 2, 1), TRAIN[1]))
    assert data.class_names == ()  # three classes aren't the alphabet


def test_colours_in_a_table(tmp_path):
    rows = sets.coloured(TRAIN[0]).reshape(12, -1)
    for name in ("train.csv", "test.csv"):
        with (tmp_path / name).open("w") as file:
            for row, label in zip(rows, TRAIN[1], strict=True):
                file.write(",".join(map(str, [label, *row])) + "\n")
    same(load(tmp_path).train, (sets.coloured(TRAIN[0]), TRAIN[1]))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1" + ",7" * 15, ("row 14 has 16 columns and the first 17",)),
        ("1" + ",7" * 15 + ",256", ("row 14, column 17: pixel 256 isn't 0 to 255",)),
        ("1" + ",7" * 15 + ",-1", ("row 14, column 17: pixel -1 isn't 0 to 255",)),
        ("10000" + ",7" * 16, ("row 14, column 1: label 10000 isn't 0 to 9999",)),
        ("cat" + ",7" * 16, ("row 14, column 1: 'cat' isn't a whole number",)),
        ("1" + ",7" * 15 + ",0.5", ("row 14, column 17: '0.5' isn't a whole number",)),
        ("1" + ",7" * 15 + ",", ("row 14, column 17: '' isn't a whole number",)),
        ("1" + ",7" * 15 + ",9" + "9" * 30, ("isn't a whole number",)),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, words):
    sets.kaggle(tmp_path)
    with (tmp_path / "train.csv").open("a") as file:
        file.write(f"{row}\n")
    refused(tmp_path, str(tmp_path / "train.csv"), *words)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("label," + ",".join(f"pixel{n}" for n in range(15)), "15 columns of pixels"),
        ("label,weight,pixel0", "column 'weight' is neither label nor pixel"),
        (",".join(f"pixel{n}" for n in range(16)), "it has no column for the label"),
        ("label,label,pixel0", "2 columns for the label"),
        ("label," + ",".join("p" * (n > 0) + str(n) for n in range(300_000)), "columns"),
        ("x" * (csv_files.MOST_LINE_BYTES + 1), "row 1 is longer than"),
        ("\0\1\2", "is neither label nor pixel"),
        ("", "no rows in it"),
    ],
)
def test_a_wrong_header_is_named(tmp_path, head, words):
    sets.kaggle(tmp_path)
    rows = (tmp_path / "train.csv").read_text().partition("\n")[2]
    if "no column" in words:
        rows = "".join(row.partition(",")[2] + "\n" for row in rows.splitlines())
    (tmp_path / "train.csv").write_text(f"{head}\n{rows}" if head else "")
    refused(tmp_path, str(tmp_path / "train.csv"), words)


def test_tables_that_are_none(tmp_path):
    sets.kaggle(tmp_path)
    (tmp_path / "train.csv").write_bytes(b"label,pixel0\n\xff\xfe,1\n")
    refused(tmp_path, "it isn't text")
    (tmp_path / "train.csv").write_bytes(b"\x1f\x8b\x08no gzip")
    refused(tmp_path, "bad gzip")
    (tmp_path / "train.csv").write_text("label,pixel0\n")
    refused(tmp_path, "no rows in it")
    (tmp_path / "train.csv").unlink()
    refused(tmp_path, "a test set without a training set (test.csv)")


# Arrays


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize("prefix", ["k49", "kmnist", ""])
def test_a_file_for_each_array(tmp_path, suffix, prefix):
    """Kuzushiji's: arr_0 in four .npz, or four .npy."""
    for subset, (images, labels) in (("train", TRAIN), ("test", TEST)):
        for kind, array in (("imgs", images), ("labels", labels)):
            path = tmp_path / f"{prefix}{'-' * bool(prefix)}{subset}-{kind}.{suffix}"
            (np.savez_compressed if suffix == "npz" else np.save)(path, array)
    data = load(tmp_path)
    same(data.train, TRAIN)
    same(data.test, TEST)


@pytest.mark.parametrize("colour", [False, True])
def test_medmnists_archive(tmp_path, colour):
    """Labels are a column; its own validation split is used, whatever --validation_size is."""
    images = sets.coloured if colour else lambda array: array
    arrays = {}
    for subset, (pixels, labels) in (("train", TRAIN), ("val", VALIDATION), ("test", TEST)):
        arrays[f"{subset}_images"] = images(pixels)
        arrays[f"{subset}_labels"] = labels[:, np.newaxis]
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    data = load(tmp_path, 5000)
    same(data.train, (images(TRAIN[0]), TRAIN[1]))
    same(data.validation, (images(VALIDATION[0]), VALIDATION[1]))
    same(data.test, (images(TEST[0]), TEST[1]))
    assert f"12 train, 5 validation, 6 test, 4x4x{3 if colour else 1}, 3 classes" in data.source


def test_an_archive_without_test_labels_or_test_set(tmp_path):
    for left_out in (["y_test"], ["x_test", "y_test"]):
        arrays = {name: array for name, array in ARRAYS.items() if name not in left_out}
        np.savez(tmp_path / "d.npz", **arrays)
        data = load(tmp_path)
        assert len(data.unlabelled.images) == (6 if len(left_out) == 1 else 0)
        assert not len(data.test.labels)


def test_arrays_that_do_not_fit(tmp_path):
    np.save(tmp_path / "x_train.npy", TRAIN[0])
    np.save(tmp_path / "y_train.npy", np.array(["a"] * 12))
    refused(tmp_path, "y_train.npy", "not of numbers")
    np.save(tmp_path / "y_train.npy", np.eye(12, 3))
    refused(tmp_path, "y_train.npy is float64 of 2 dimensions")
    np.save(tmp_path / "y_train.npy", np.where(np.arange(12) == 7, 20_000, 1))
    refused(tmp_path, "labels that aren't 0 to 9999: the one of image 7 is 20000")
    np.save(tmp_path / "y_train.npy", np.array([{}] * 12))
    refused(tmp_path, "y_train.npy", "not of numbers")
    np.save(tmp_path / "y_train.npy", TRAIN[1])
    np.save(tmp_path / "x_train.npy", np.zeros((12, 3, 28, 28), np.uint8))
    refused(tmp_path, "images of 28 channels; its channels seem to come first")
    raw = (tmp_path / "x_train.npy").read_bytes()
    for data in (raw[:-1], raw + b"\0", raw[:30], b"no array"):
        (tmp_path / "x_train.npy").write_bytes(data)
        refused(tmp_path, f"{tmp_path}/x_train.npy: damaged")
    np.savez(tmp_path / "x_train.npz", TRAIN[0])
    refused(tmp_path, "x_train.npy and x_train.npz are both the train images; remove one")


# IDX


def test_qmnists_labels(tmp_path):
    """idx2-int: 8 columns, of which the first is the class; the fourth may be any number."""
    for subset, (images, labels) in (("train", TRAIN), ("test", TEST)):
        sets.idx(tmp_path / f"qmnist-{subset}-images-idx3-ubyte.gz", images)
        table = np.full((len(labels), 8), -70_000)
        table[:, 0] = labels
        sets.idx(tmp_path / f"qmnist-{subset}-labels-idx2-int.gz", table, 0x0C, ">i4")
    data = load(tmp_path)
    same(data.train, TRAIN)
    same(data.test, TEST)
    path = tmp_path / "qmnist-train-labels-idx2-int.gz"
    sets.idx(path, TRAIN[1])
    refused(tmp_path, str(path), "magic number 00000801, expected 00000c02")
    sets.idx(path, np.full((12, 8), -3), 0x0C, ">i4")
    refused(tmp_path, "training label -3 is outside")


def test_infimnist_beside_mnists_test_set(tmp_path, monkeypatch):
    """Large files are mapped: the images take no memory of the process's own."""
    monkeypatch.setattr(idx, "MAPPED_BYTES", 100)
    sets.idx(tmp_path / "mnist8m-patterns-idx3-ubyte", TRAIN[0])
    sets.idx(tmp_path / "mnist8m-labels-idx1-ubyte", TRAIN[1])
    for images, labels in (("test10k-patterns", "test10k-labels"), sources.IDX_FILES[2:]):
        sets.idx(tmp_path / images, TEST[0])
        sets.idx(tmp_path / labels, TEST[1])
        data = load(tmp_path, 3)
        assert isinstance(base(data.train.images), np.memmap)
        same(data.train, (TRAIN[0][3:], TRAIN[1][3:]))
        same(data.test, TEST)
        (tmp_path / images).unlink()
        (tmp_path / labels).unlink()


def base(array):
    """The memmap of which an array is a view, or the array."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return array


@pytest.mark.parametrize("change", [b"x", -1])
def test_a_mapped_file_must_be_as_long_as_its_header_says(tmp_path, monkeypatch, change):
    monkeypatch.setattr(idx, "MAPPED_BYTES", 100)
    for name, array in zip(sources.IDX_FILES, (*TRAIN, *TEST), strict=True):
        sets.idx(tmp_path / name, array)
    path = tmp_path / sources.IDX_FILES[0]
    data = path.read_bytes()
    path.write_bytes(data + change if isinstance(change, bytes) else data[:change])
    refused(tmp_path, str(path), "truncated or damaged")


def test_npy_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAPPED_BYTES", 100)
    for name, array in ARRAYS.items():
        np.save(tmp_path / f"{name}.npy", array)
    data = load(tmp_path)
    assert isinstance(base(data.train.images), np.memmap)
    same(data.train, TRAIN)
    with (tmp_path / "x_train.npy").open("ab") as file:
        file.write(b"\0")
    refused(tmp_path, "x_train.npy: damaged (it isn't as long as its header says)")


def test_the_names_of_emnists_letters(tmp_path):
    labels = np.arange(1, 27)
    images = sets.RNG.integers(0, 256, (26, 4, 4), np.uint8)
    for subset in ("train", "test"):
        sets.idx(tmp_path / f"emnist-letters-{subset}-images-idx3-ubyte.gz", images)
        sets.idx(tmp_path / f"emnist-letters-{subset}-labels-idx1-ubyte.gz", labels)
    data = load(tmp_path)
    assert "".join(data.class_names) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert data.source.endswith("26 classes (A to Z)")


# Pictures


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("names", [["0", "1", "2"], ["ant", "bee", "cat"], ["2", "10", "100"]])
@pytest.mark.parametrize("folders", [("train", "test"), ("training", "testing")])
def test_folders_of_pictures(tmp_path, suffix, names, folders):
    for folder, (images, labels) in zip(folders, (TRAIN, TEST), strict=True):
        sets.pictures(tmp_path / folder, images, labels, names, suffix)
        (tmp_path / folder / names[0] / "Thumbs.db").write_text("Windows")
    data = load(tmp_path)
    order = np.argsort(TRAIN[1], kind="stable")
    same(data.train, (TRAIN[0][order], TRAIN[1][order]))
    assert len(data.test.labels) == 6
    assert data.class_names == (() if names[0] == "0" else tuple(names))


def test_folders_without_a_test_set(tmp_path):
    """Own photographs: a folder a class, in colour; sorted by class, so a draw is needed."""
    sets.pictures(tmp_path, sets.coloured(TRAIN[0]), TRAIN[1], ["ant", "bee", "cat"])
    data = load(tmp_path, 3, validation_seed=0)
    assert sorted(data.validation.labels.tolist()) == [0, 1, 2]
    assert "9 train, 3 validation, no test set, 4x4x3, 3 classes (ant to cat)" in data.source
    refused(tmp_path, "have no image of class bee; give --validation=shuffled", validation_size=3)


def test_a_test_folder_without_classes(tmp_path):
    from PIL import Image

    sets.pictures(tmp_path / "train", *TRAIN, ["0", "1", "2"])
    (tmp_path / "test").mkdir()
    for number in (10, 9, 1):
        Image.fromarray(TEST[0][number % 6]).save(tmp_path / f"test/{number}.png")
    unlabelled = load(tmp_path).unlabelled
    assert unlabelled.names == ("1.png", "9.png", "10.png")
    np.testing.assert_array_equal(unlabelled.images[..., 0], TEST[0][[1, 3, 4]])


def test_pictures_that_do_not_fit(tmp_path, monkeypatch):
    from PIL import Image

    sets.pictures(tmp_path / "train", *TRAIN, ["0", "1", "2"])
    path = tmp_path / "train/1/x.png"
    transparent = np.zeros((4, 4, 4), np.uint8)
    for picture, words in (
        (np.zeros((5, 4), np.uint8), "x.png: 4x5 grey, and"),
        (np.zeros((4, 4, 3), np.uint8), "4x4 in colour, and"),
        (transparent, "transparent pixels"),
        (np.zeros((4, 4), np.uint16), "give pictures of 8 bits"),
    ):
        Image.fromarray(picture).save(path)
        refused(tmp_path, str(path), words)
    whole = (tmp_path / "train/0/0.png").read_bytes()
    for data in (b"", b"no picture", whole[:40], whole[:60]):
        path.write_bytes(data)
        refused(tmp_path, str(path))
    path.unlink()
    (tmp_path / "train/1/notes.txt").write_text("")
    refused(tmp_path, "train/1/notes.txt: not a picture")
    (tmp_path / "train/1/notes.txt").unlink()
    (tmp_path / "train/1/more").mkdir()
    refused(tmp_path, "train/1/more: a folder in a class's folder")
    (tmp_path / "train/1/more").rmdir()
    os.mkdir(os.fsencode(tmp_path / "train") + b"/\xff\xfe")
    refused(tmp_path, r"train/\udcff\udcfe: a class's folder whose name isn't printable")
    os.rmdir(os.fsencode(tmp_path / "train") + b"/\xff\xfe")
    monkeypatch.setattr(decode, "MOST_PIXELS", 15)
    refused(tmp_path, "4x4 pixels; at most 15 are read")
    sets.pictures(tmp_path / "test", *TEST, ["0", "1", "5"])
    refused(tmp_path, "class '5' isn't among those of the training set")


def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A PNG of 30,000x30,000 grey pixels in 110 kB would take 900 MB."""
    import tracemalloc
    import zlib

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    size = (30_000).to_bytes(4, "big")
    packed = zlib.compress(bytes(1 << 24), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size * 2 + b"\x08\0\0\0\0")
    sets.pictures(tmp_path / "train", *TRAIN, ["0", "1", "2"])
    (tmp_path / "train/0/bomb.png").write_bytes(data + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    tracemalloc.start()
    refused(tmp_path, "train/0/bomb.png", "pixels")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_file_names_that_are_not_utf_8(tmp_path):
    sets.pictures(tmp_path / "train", *TRAIN, ["0", "1", "2"])
    source = os.fsencode(tmp_path / "train/0/0.png")
    os.rename(source, os.fsencode(tmp_path / "train/0") + b"/\xff.png")
    assert len(load(tmp_path).train.labels) == 12


# Parquet


@pytest.mark.parametrize("folder", ["", "data", "mnist"])
def test_hugging_faces_parquet(tmp_path, folder):
    place = tmp_path / folder
    half = TRAIN[0][:6], TRAIN[1][:6]
    rest = TRAIN[0][6:], TRAIN[1][6:]
    sets.parquet(place / "train-00000-of-00002.parquet", *half, ["ant", "bee", "cat"])
    sets.parquet(place / "train-00001-of-00002-a1b2.parquet", *rest, ["ant", "bee", "cat"])
    sets.parquet(place / "test-00000-of-00001.parquet", *TEST, ["ant", "bee", "cat"])
    data = load(tmp_path)
    same(data.train, TRAIN)
    same(data.test, TEST)
    assert data.class_names == ("ant", "bee", "cat")


def test_parquet_in_colour_without_test_labels(tmp_path):
    sets.parquet(tmp_path / "train-0.parquet", sets.coloured(TRAIN[0]), TRAIN[1], column="img")
    sets.parquet(tmp_path / "validation-0.parquet", sets.coloured(VALIDATION[0]), VALIDATION[1])
    sets.parquet(tmp_path / "test-0.parquet", sets.coloured(TEST[0]), TEST[1].astype(int) * 0 - 1)
    data = load(tmp_path, 3)
    same(data.train, (sets.coloured(TRAIN[0]), TRAIN[1]))
    assert len(data.validation.labels) == 5
    np.testing.assert_array_equal(data.unlabelled.images, sets.coloured(TEST[0]))
    sets.parquet(tmp_path / "test-0.parquet", sets.coloured(TEST[0]), None)
    assert len(load(tmp_path).unlabelled.images) == 6


def test_parquet_that_does_not_fit(tmp_path):
    path = tmp_path / "train-0.parquet"
    sets.parquet(path, TRAIN[0], TRAIN[1].astype(int) - 7)
    refused(tmp_path, f"{path}: row 1: its label is -7")
    sets.parquet(path, TRAIN[0], None)
    refused(tmp_path, "no column of labels")
    sets.parquet(path, *TRAIN)
    whole = path.read_bytes()
    for data in (b"", b"PAR1", whole[:-20], whole[:200] + b"\0" * 50 + whole[250:]):
        path.write_bytes(data)
        refused(tmp_path, str(path))


# Names of classes


@pytest.mark.parametrize(
    "text",
    [
        "ant\nbee\ncat\n\n",
        "\ufeffant\r\nbee\r\ncat",
        "index,codepoint,char\n0,U+1,ant\n1,x,bee\n2,,cat",
    ],
)
def test_names_of_classes_from_a_file(tmp_path, text):
    np.savez(tmp_path / "d.npz", **ARRAYS)
    (tmp_path / "names.txt").write_text(text, encoding="utf-8")
    data = load(tmp_path, class_names=str(tmp_path / "names.txt"))
    assert data.class_names == ("ant", "bee", "cat")
    assert data.fingerprint == load(tmp_path).fingerprint


def test_emnists_mapping(tmp_path):
    np.savez(tmp_path / "d.npz", **ARRAYS)
    (tmp_path / "names.txt").write_text("1 65 97 \n2 66 98 \n3 67 99 \n")
    assert load(tmp_path, class_names=str(tmp_path / "names.txt")).class_names == ("A", "B", "C")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ant\nbee\n", "2 names, and the set has 3 classes"),
        ("ant\nbee\nant\n", "'ant' stands there twice"),
        ("ant\n\nbee\n", "line 2 is ''"),
        ("ant\nb\x00\ncat", "line 2 is 'b\\x00'"),
        ("x" * 41 + "\nb\nc", "at most 40 characters"),
        ("", "0 names"),
    ],
)
def test_names_that_do_not_fit(tmp_path, text, words):
    np.savez(tmp_path / "d.npz", **ARRAYS)
    (tmp_path / "names").write_text(text)
    refused(tmp_path, "--class_names=", words, class_names=str(tmp_path / "names"))
    refused(tmp_path, "can't be read", class_names=str(tmp_path / "nowhere"))


def test_optional_readers_are_imported_only_when_they_are_used():
    """Training on the embedded MNIST starts as fast as before."""
    import subprocess
    import sys

    code = (
        "import sys; from mnist_dist.data import sources; sources.load('', '', 5000); "
        "print(sorted({'PIL', 'pyarrow', 'pandas', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[\]\n", done.stdout)
