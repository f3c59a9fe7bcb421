"""Tables, pictures, parquet files and names of classes with any damage: one line, bounded."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_dist.data import sources
from tests.unit.data import sets
from tests.unit.data.sets import TEST, TRAIN
from tests.unit.hostile import bounded, damaged, fuzzed


@pytest.fixture(scope="module", autouse=True)
def imported():
    """The optional libraries, whose import is no part of a reader's time and memory."""
    import PIL.Image
    import pyarrow.parquet

    PIL.Image.init()
    assert pyarrow.parquet


def made(write) -> dict[str, bytes]:
    """The files of a set, by their paths."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def four_arrays(folder):
    for name, array in zip(
        ("x_train", "y_train", "x_test", "y_test"), (*TRAIN, *TEST), strict=True
    ):
        np.save(folder / f"{name}.npy", array)


def parquet(folder):
    for name, (images, labels) in (("train-0", TRAIN), ("test-0", TEST)):
        sets.parquet(folder / f"{name}.parquet", images, labels, ["a", "b", "c"])


def pictures(suffix):
    def write(folder):
        for name, (images, labels) in (("train", TRAIN), ("test", TEST)):
            sets.pictures(folder / name, images, labels, "012", suffix)

    return write


SETS = {
    "csv": sets.kaggle,
    "npy": four_arrays,
    "parquet": parquet,
    **{suffix: pictures(suffix) for suffix in (".png", ".jpg", ".gif", ".tif", ".bmp", ".webp")},
}


@pytest.mark.parametrize("kind", SETS)
def test_damaged_sets(kind):
    files = made(SETS[kind])
    names = [name for name in files if "submission" not in name][:3]

    @fuzzed(40)
    @given(st.sampled_from(names), st.data())
    def try_one(name, data):
        body = data.draw(damaged(files[name]))
        with tempfile.TemporaryDirectory() as folder:
            for other, content in files.items():
                path = Path(folder, other)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body if other == name else content)
            with bounded():
                sources.load(folder, "", 0)

    try_one()


CELLS = st.sampled_from(["0", "7", "255", "256", "-1", "x", "", "1e3", "9" * 30, '"1"', "²"])
HEADS = st.sampled_from(["", "label,pixel0,pixel1,pixel2,pixel3", "pixel0", '"label","pixel0"'])


@fuzzed(60)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=8),
    HEADS,
    st.sampled_from(["\n", "\r\n", "\r", "\0\n"]),
)
def test_tables(rows, head, end):
    text = end.join([head, *(",".join(row) for row in rows)]) + end
    with tempfile.TemporaryDirectory() as folder:
        for name in ("train.csv", "test.csv"):
            Path(folder, name).write_text(text)
        with bounded():
            sources.load(folder, "", 0)


@fuzzed(60)
@given(damaged([b"ant\nbee\ncat\n", b"0 48\n1 49\n2 50\n", b"index,codepoint,char\n0,U+1,a\n"]))
def test_names_of_classes(data):
    with tempfile.TemporaryDirectory() as folder, bounded():
        four_arrays(Path(folder))
        Path(folder, "names").write_bytes(data)
        sources.load(folder, "", 0, class_names=f"{folder}/names")


@fuzzed(60)
@given(st.lists(st.tuples(st.text(max_size=40), st.booleans()), max_size=6), st.booleans())
def test_any_names_of_files_and_folders(entries, below):
    """Names of classes and pictures may be anything that a file system takes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "train" if below else "")
        image = made(pictures(".png"))["train/0/0.png"]
        for name, is_folder in entries:
            try:
                path = place / name.replace("/", "")
                if is_folder:
                    path.mkdir(parents=True, exist_ok=True)
                    (path / "a.png").write_bytes(image)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.with_name(path.name + ".png").write_bytes(image)
            except (OSError, ValueError):  # no name for a file
                continue
        with bounded():
            sources.load(folder, "", 0)
