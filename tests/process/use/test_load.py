"""`mnist_dist.load`: files, pictures and arrays in; what its objects say of themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mnist_dist
from mnist_dist.errors import UsageError
from mnist_dist.use import handwriting

DRAWN = Path(__file__).parents[2] / "handwriting"
NAMES = [DRAWN / "3-shadow.jpg", DRAWN / "5-pencil.jpg", DRAWN / "9-transparent.png"]


@pytest.fixture(scope="module")
def model(reader):
    return mnist_dist.load(reader.folder / "ck")


def test_files_and_pictures_as_by_the_command(trainer, reader, model):
    argv = (reader.folder / "ck", "--no_gpu", "--json", "--images", *NAMES)
    expected = json.loads(trainer.tool("evaluate", *argv).out)["images"]
    pictures = [Image.open(path) for path in NAMES]
    before = [picture.size for picture in pictures]
    for given in (NAMES, [str(path) for path in NAMES], pictures, tuple(pictures)):
        found = model.predict(given)
        assert found.classes.tolist() == [answer["class"] for answer in expected] == [3, 5, 9]
        np.testing.assert_allclose(
            found.probabilities.max(1), [answer["probability"] for answer in expected], rtol=1e-5
        )
    assert [picture.size for picture in pictures] == before
    for given in (NAMES[0], str(NAMES[0]), pictures[0]):
        assert model.predict(given).classes.tolist() == [3]
    array = np.stack([handwriting.read(path, (28, 28, 1)) for path in NAMES])
    for given in (array, list(array)):
        assert model.predict(given).classes.tolist() == [3, 5, 9]


def test_refused(model, tmp_path):
    with pytest.raises(UsageError, match=r"none\.png: it can't be read \(No such file"):
        model.predict([NAMES[0], "none.png"])
    with pytest.raises(UsageError, match="picture 1: nothing found: no ink"):
        model.predict([Image.open(NAMES[0]), Image.new("L", (50, 50), 255)])
    two = Image.new("L", (200, 100), 255)
    for left in (50, 140):
        two.paste(0, (left, 20, left + 10, 80))
    with pytest.raises(UsageError, match="picture 0: several digits; give a picture of each"):
        model.predict(two)
    with pytest.raises(UsageError, match="images of type float64"):
        model.predict(np.zeros((28, 28)))
    for other in (None, np.zeros((28, 28), np.uint8), 3):
        wanted = rf"images\[1\] is of type {type(other).__name__}, and others are files or pict"
        with pytest.raises(UsageError, match=wanted):
            model.predict([NAMES[0], other])
    with pytest.raises(UsageError, match="images of several shapes: give them one shape"):
        model.predict([np.zeros((28, 28), np.uint8), np.zeros((27, 28), np.uint8)])
    with pytest.raises(UsageError, match="images of type object"):
        model.predict([None])
    for count in (0, -1):
        with pytest.raises(UsageError, match=rf"top\({count}\): give how many classes, 1 or more"):
            model.predict(NAMES[0]).top(count)


def test_none_and_all(model):
    assert model.predict([]).classes.tolist() == []
    assert model.predict([]).top(3) == []
    (answer,) = model.predict(NAMES[0]).top(99)
    assert sorted(name for name, _ in answer) == list(range(10))


def test_they_say_what_they_are(trainer, reader, model):
    path = f"{reader.folder}/ck/ckpt-430"
    assert repr(model) == f"Model('{path}': images 28x28x1, 10 classes, 430 steps)"
    found = model.predict([NAMES[0]] * 7)
    one = f"3 ({100 * found.probabilities[0, 3]:.2f} %)"
    assert repr(found) == f"Prediction({', '.join([one] * 5)}, ...)"
