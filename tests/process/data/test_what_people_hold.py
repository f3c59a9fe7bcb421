"""Runs on sets as people have them: Kaggle's tables without test labels, folders of pictures."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.process.network import numpy_network as reference
from tests.process.trainer import SMALL

FLAGS = (*SMALL, "--lr=0.1", "--validation_size=300", "--validation=shuffled", "--max_steps=120")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def digits():
    """MNIST's first 2,000 training and 300 test images, uint8 [n, 28, 28], with their labels."""
    counts = (("train", 2000), ("t10k", 300))
    sets = [(reference.mnist(part), count) for part, count in counts]
    return [(images[:count, ..., 0], labels[:count]) for (images, labels), count in sets]


def test_from_kaggles_tables_to_a_submission(trainer, digits, tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    for name, (images, labels) in zip(("train", "test"), digits, strict=True):
        head = [f"pixel{n}" for n in range(784)]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", *head] if name == "train" else head)
            for image, label in zip(images, labels, strict=True):
                writer.writerow([*([label] if name == "train" else []), *image.ravel()])
    run = trainer(*FLAGS, f"--data_dir={folder}")
    assert run.code == 0, run.err
    assert "1700 train, 300 validation, 300 test images without labels, 28x28x1" in run.out
    result = run.result()
    assert (result["test_accuracy"], result["test_loss"]) == (None, None)
    assert result["validation_accuracy"] > 0.5
    assert "Validation set: Average loss" in run.out
    assert "Test set" not in run.out
    assert not (run.folder / "out/predictions.npz").exists()
    again = trainer(*FLAGS, f"--data_dir={folder}", folder=run.folder)
    assert again.code == 0, again.err
    assert "This run is finished" in again.out
    assert "Validation set: Average loss" in again.out

    scored = trainer.tool("evaluate", run.folder / "ck", "--no_gpu", "--json", "--split=validation")
    assert json.loads(scored.out)["accuracy"] == result["validation_accuracy"]
    refused = trainer.tool("evaluate", run.folder / "ck", "--no_gpu").refused()
    assert "--split=test: it is empty in CSV files in" in refused

    refused = trainer.tool("evaluate", run.folder / "ck", f"--predict={tmp_path}").refused()
    assert f"--predict={tmp_path}: give a name that ends in .csv" in refused
    table = tmp_path / "submission.csv"
    done = trainer.tool("evaluate", run.folder / "ck", "--no_gpu", f"--predict={table}")
    assert done.code == 0, done.err
    assert f"300 predictions for CSV files in {folder}" in done.out
    lines = table.read_text().splitlines()
    assert lines[0] == "ImageId,Label"
    assert [line.partition(",")[0] for line in lines[1:]] == [str(n) for n in range(1, 301)]
    answers = np.array([int(line.partition(",")[2]) for line in lines[1:]])
    assert answers.tolist() == trainer.predict(run.folder / "ck", digits[1][0])[0].tolist()
    assert (answers == digits[1][1]).mean() > 0.5
    (folder / "train.csv").unlink()  # another folder with a test set is enough
    other = tmp_path / "other.csv"
    done = trainer.tool(
        "evaluate", run.folder / "ck", "--no_gpu", f"--data_dir={folder}", f"--predict={other}"
    )
    assert done.code == 0, done.err
    assert other.read_text() == table.read_text()

    report = trainer.tool("report.__main__", run.folder / "out", "--format=md")
    assert "has no test score: its data set has no labelled test images" in report.out + report.err


def test_folders_of_pictures_with_names(trainer, digits, tmp_path):
    """The classes' names are in the checkpoint, the scores, the answers and the report."""
    (images, labels), (tests, answers) = digits
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "photos/train" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    for number, (image, label) in enumerate(zip(tests, answers, strict=True)):
        place = tmp_path / "photos/test" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    run = trainer(*FLAGS, f"--data_dir={tmp_path}/photos")
    assert run.code == 0, run.err
    names = sorted(NAMES)
    assert "10 classes (eight to zero)" in run.out
    assert run.result()["class_names"] == names
    scored = trainer.tool("evaluate", run.folder / "ck", "--no_gpu")
    assert [line.split()[0] for line in scored.out.splitlines()[-10:]] == names
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in (10, 9, 2):
        Image.fromarray(255 - tests[number]).save(flat / f"{number}.png")
    table = tmp_path / "out.csv"
    done = trainer.tool(
        "evaluate", run.folder / "ck", "--no_gpu", f"--images={flat}", f"--predict={table}"
    )
    assert done.code == 0, done.err
    rows = list(csv.DictReader(table.open()))
    assert sorted(row["name"] for row in rows) == sorted(str(path) for path in flat.iterdir())
    for row in rows:
        shares = {name: float(row[f"p({name})"]) for name in names}
        assert row["class"] == max(shares, key=shares.get)
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
    asked = trainer.tool(
        "evaluate", run.folder / "ck", "--no_gpu", "--json", f"--images={flat}/9.png"
    )
    first = json.loads(asked.out)["images"][0]
    assert first["name"] == names[first["class"]]
    page = trainer.tool("report.__main__", run.folder / "out", f"--output={tmp_path}/report.html")
    assert page.code == 0, page.err
    assert '<th scope="row">seven</th>' in (tmp_path / "report.html").read_text()


def test_neither_validation_nor_test_images(trainer, digits, tmp_path):
    images, labels = (array[:200] for array in digits[0])
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels)
    run = trainer(*SMALL, f"--data_dir={tmp_path}", "--validation_size=0", "--max_steps=2")
    assert run.code == 0, run.err
    assert "200 train, 0 validation, no test set" in run.out
    assert run.result()["test_accuracy"] is None
    assert run.result()["validation_accuracy"] is None
