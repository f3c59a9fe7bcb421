"""Scoring a run and asking it, from what it left; real runs, real data."""

import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_dist.data import idx
from mnist_dist.use import handwriting
from tests.mnist_files import cut
from tests.process.trainer import SMALL, train

DRAWN = Path(__file__).parents[2] / "handwriting"


def scored(trainer, *argv):
    done = trainer.tool("evaluate", *argv, "--no_gpu", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("name", ["every", "rich"])
def test_the_runs_own_numbers_to_the_last_digit(trainer, request, name):
    run = request.getfixturevalue(name)
    result = run.result()
    for split in ("test", "validation"):
        found = scored(trainer, run.folder / "ck", f"--split={split}")
        assert found["loss"] == result[f"{split}_loss"]
        assert found["accuracy"] == result[f"{split}_accuracy"]
    assert found["examples"] == 500
    assert found["step"] == (40 if name == "rich" else 80)  # the best step; the last


def test_each_folder_that_may_be_named(trainer, every):
    expected = scored(trainer, every.folder / "ck")
    assert scored(trainer, every.folder / "out") == expected
    assert scored(trainer, every.folder / "ck/ckpt-80") == expected
    lines = {line["step"]: line for line in every.metrics("test")}
    first = scored(trainer, every.folder / "ck/ckpt-40")
    assert (first["loss"], first["step"]) == (lines[40]["loss"], 40)


def test_of_several_replicas(trainer, small, tmp_path):
    """1003 images over 3 replicas, of which two have fewer rows in the last block."""
    flags = ("--virtual_devices=3", "--max_steps=5", "--batch_norm")
    run = train(tmp_path, *[flag for flag in small if flag != "--no_gpu"], *flags)
    assert run.code == 0, run.err
    found = scored(trainer, tmp_path / "ck")
    assert found["loss"] == run.result()["test_loss"]
    assert found["accuracy"] == run.result()["test_accuracy"]


def test_classes_and_errors_by_hand(trainer, every):
    found = scored(trainer, every.folder / "ck")
    with np.load(every.folder / "out/predictions.npz") as arrays:
        label, prediction, loss = (arrays[name] for name in ("label", "prediction", "loss"))
    table = [[int(((label == i) & (prediction == j)).sum()) for j in range(10)] for i in range(10)]
    assert found["confusion"] == table
    for name, (precision, recall) in enumerate(found["precision_recall"]):
        predicted, there = prediction == name, label == name
        if predicted.any():
            assert precision == pytest.approx((label[predicted] == name).mean(), abs=1e-12)
        else:
            assert precision is None
        assert recall == pytest.approx((prediction[there] == name).mean(), abs=1e-12)
    share = (label == prediction).mean()
    assert found["accuracy_error"] == pytest.approx(np.sqrt(share * (1 - share) / 1003))
    assert found["loss_error"] == pytest.approx(
        loss.astype(float).std(ddof=1) / np.sqrt(1003), 1e-5
    )


def test_the_text_and_the_picture(trainer, rich, tmp_path):
    argv = (rich.folder / "ck", "--no_gpu", f"--mistakes={tmp_path}/worst.png")
    done = trainer.tool("evaluate", *argv)
    assert done.code == 0, done.err
    first, data, notebook, errors, *rest = done.out.splitlines()
    path = f"{rich.folder}/ck/ckpt-40"
    assert first == f"Weights: {path}, the best by --patience, averages of --ema."
    assert data.startswith("Data: IDX files in ")
    assert notebook in rich.out
    result = rich.result()
    assert f"loss {result['test_loss']:.5f} ± " in errors
    assert f"accuracy {100 * result['test_accuracy']:.3f} ± " in errors
    rows = [line.split() for line in rest if re.match(r" +\d ", line)]
    assert sum(int(n) for row in rows for n in row[3:] if n != ".") == 1003
    assert max(map(len, done.out.splitlines()[3:-1])) <= 100  # the last one has a path
    picture = np.asarray(Image.open(tmp_path / "worst.png"))
    assert picture.shape[1] == 8 * 94 + 10  # eight columns
    with np.load(rich.folder / "out/predictions.npz") as arrays:
        worst = 255 - arrays["mistake_image"][0, ..., 0]
    tile = picture[10:94, 10:94, 0].reshape(28, 3, 28, 3)
    assert (tile == worst[:, np.newaxis, :, np.newaxis]).all()


def test_other_data(trainer, every, tmp_path):
    cut(tmp_path, 600, 300)
    found = scored(trainer, every.folder / "ck", f"--data_dir={tmp_path}")
    assert found["examples"] == 300
    images = idx.read(tmp_path / "t10k-images-idx3-ubyte", 3)
    labels = idx.read(tmp_path / "t10k-labels-idx1-ubyte", 1)
    classes, probabilities = trainer.predict(every.folder / "ck", images)
    assert found["accuracy"] == pytest.approx((classes == labels).mean(), abs=1e-12)
    mean = -np.log(probabilities[np.arange(300), labels].astype(float)).mean()
    assert found["loss"] == pytest.approx(mean, rel=1e-5)


def test_averaged_over_views(trainer, every, tmp_path):
    """On images of even bytes, of which also those moved by half a pixel are bytes."""
    cut(tmp_path, 600, 300)
    for part in ("train", "t10k"):
        path = tmp_path / f"{part}-images-idx3-ubyte"
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        data[16:] &= 254
        path.write_bytes(data.tobytes())
    images = idx.read(tmp_path / "t10k-images-idx3-ubyte", 3)
    labels = idx.read(tmp_path / "t10k-labels-idx1-ubyte", 1)
    wide = np.pad(images.astype(int), [(0, 0), (1, 1), (1, 1)])
    places = (1, 1), (0, 1), (2, 1), (1, 0), (1, 2)
    views = [(images + wide[:, y : y + 28, x : x + 28]) // 2 for y, x in places]
    folder = every.folder / "ck"
    mean = np.mean([trainer.predict(folder, v.astype(np.uint8))[1] for v in views], 0)
    classes, probabilities = trainer.predict(folder, images, tta=True)
    np.testing.assert_allclose(probabilities, mean, rtol=1e-4, atol=1e-7)
    assert (classes == probabilities.argmax(1)).all()
    found = scored(trainer, folder, f"--data_dir={tmp_path}", "--tta")
    assert found["tta"]
    assert found["accuracy"] == pytest.approx((classes == labels).mean(), abs=1e-12)
    loss = -np.log(mean[np.arange(300), labels].astype(float)).mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    single = scored(trainer, folder, f"--data_dir={tmp_path}")
    assert not single["tta"]
    assert single["loss"] != pytest.approx(loss, rel=1e-4)
    text = trainer.tool("evaluate", folder, "--no_gpu", f"--data_dir={tmp_path}", "--tta").out
    assert text.splitlines()[0].endswith(", answers averaged over 5 views (--tta).")


def test_drawn_digits(trainer, reader, tmp_path):
    argv = ("--images", *sorted(DRAWN.glob("*.*g")), f"--save_preprocessed={tmp_path}/seen")
    done = trainer.tool("evaluate", reader.folder / "ck", "--no_gpu", "--json", *argv)
    assert done.code == 0, done.err
    answers = json.loads(done.out)["images"]
    names = [Path(answer["image"]).name for answer in answers]
    assert names == sorted(path.name for path in DRAWN.iterdir() if path.suffix != ".py")
    assert [str(answer["class"]) for answer in answers] == [name[0] for name in names]
    for answer in answers:
        shares = [top["probability"] for top in answer["top"]]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert answer["top"][0] == {
            "class": answer["class"],
            "probability": answer["probability"],
        }
    saved = sorted((tmp_path / "seen").iterdir())
    assert [path.name for path in saved][:1] == ["001-0-black-on-white.png"]
    for path, name in zip(saved, names, strict=True):
        seen = handwriting.read(DRAWN / name, (28, 28, 1))[..., 0]
        assert (np.asarray(Image.open(path)) == seen).all()


def test_what_cannot_be_read_is_named_and_skipped(trainer, reader, tmp_path):
    shutil.copy(DRAWN / "4-tiny.png", tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (50, 60), 255).save(tmp_path / "white.png")
    four = np.asarray(Image.open(DRAWN / "4-tiny.png").convert("L"))
    Image.fromarray(np.concatenate([four, four], 1)).save(tmp_path / "two.png")
    (tmp_path / "phone.heic").write_text("")
    argv = ("--images", tmp_path, tmp_path / "none.png")
    done = trainer.tool("evaluate", reader.folder / "ck", "--no_gpu", *argv)
    assert done.code == 2
    assert re.fullmatch(
        rf"{tmp_path}/good.png: 4 \(\d+\.\d\d %\), or \d \(.*%\), \d \(.*%\)\n", done.out
    )
    assert done.err.splitlines() == [
        f"mnist_dist: {tmp_path}/text.png: it is no picture that Pillow knows; it is skipped",
        f"mnist_dist: {tmp_path}/two.png: several digits; give a picture of each; it is skipped",
        f"mnist_dist: {tmp_path}/white.png: nothing found: no ink stands out from the paper; "
        "it is skipped",
        f"mnist_dist: {tmp_path}/none.png: it can't be read (No such file or directory); "
        "it is skipped",
        f"mnist_dist: {tmp_path}/phone.heic: .heic isn't read; convert it to .png or .jpg; it is "
        "skipped",
    ]


def test_unsure_answers_are_marked(trainer, every, reader):
    """Below 60 %: those of a network that has seen 5,000 images, not of one that reads."""
    marked = []
    for run in (every, reader):
        argv = (run.folder / "ck", "--no_gpu", "--images", *sorted(DRAWN.glob("*.*g")))
        answers = json.loads(trainer.tool("evaluate", *argv, "--json").out)["images"]
        unsure = [answer["probability"] < 0.6 for answer in answers]
        assert [answer.get("unsure", False) for answer in answers] == unsure
        lines = trainer.tool("evaluate", *argv).out.splitlines()
        assert [": unsure: " in line for line in lines] == unsure
        marked += unsure
    assert {*marked} == {True, False}


def damage(checkpoint):
    path = next(checkpoint.glob("weights.data*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def relabelled(folder):
    """The subset with five classes."""
    cut(folder, 600, 300)
    for path in folder.glob("*labels*"):
        data = path.read_bytes()
        path.write_bytes(data[:8] + bytes(label % 5 for label in data[8:]))


def test_refused(trainer, every, tmp_path):
    """One line, exit 2."""
    run = tmp_path / "run"
    shutil.copytree(every.folder / "ck", run)

    def line(*argv, module="evaluate"):
        return trainer.tool(module, *argv).refused()

    for module, rest in (("evaluate", ("--no_gpu",)), ("export", (tmp_path / "served",))):
        assert f"{tmp_path}: a folder of 1 run(s); give one" in line(tmp_path, *rest, module=module)
        damage(run / "ckpt-80") if module == "evaluate" else None
        text = line(run, *rest, module=module)
        assert f"{run}/ckpt-80: its file weights.data-00000-of-00001 is damaged" in text
        assert "give one of the others: ckpt-40" in text
    assert not (tmp_path / "served").exists()
    (tmp_path / "five").mkdir()
    relabelled(tmp_path / "five")
    ck = every.folder / "ck"
    text = line(ck, "--no_gpu", f"--data_dir={tmp_path}/five")
    assert "5 classes, and the run has 10; give a set with the same classes" in text
    images = tmp_path / "five/t10k-images-idx3-ubyte"
    for path in (images, tmp_path / "five/train-images-idx3-ubyte"):
        count, size = struct.unpack(">I", path.read_bytes()[4:8])[0], 28 * 28
        head = b"\0\0\x08\x03" + struct.pack(">III", count, 14, 56)
        path.write_bytes(head + path.read_bytes()[-count * size :])
    text = line(ck, "--no_gpu", f"--data_dir={tmp_path}/five")
    assert "images of 14x56x1, and the run's are 28x28x1" in text
    (tmp_path / "nothing").mkdir()
    assert f"{tmp_path}/nothing: no picture" in line(ck, "--images", tmp_path / "nothing")
    assert "--split is for scoring" in line(ck, "--images", DRAWN, "--split=test")
    assert "--save_preprocessed goes with --images" in line(ck, "--save_preprocessed=x")
    assert "--mistakes=x.jpg: give a name that ends in .png" in line(ck, "--mistakes=x.jpg")
    assert "can't write there" in line(ck, "--mistakes=/proc/none/x.png")
    assert "invalid choice: 'all'" in line(ck, "--split=all")


def test_the_runs_data_is_gone(trainer, tmp_path):
    """The embedded MNIST isn't taken in its place."""
    (tmp_path / "data").mkdir()
    cut(tmp_path / "data", 200, 50)
    flags = (*SMALL, f"--data_dir={tmp_path}/data", "--validation_size=0", "--epochs=1")
    run = trainer(*flags, "--log_interval=0")
    assert run.code == 0, run.err
    assert scored(trainer, run.folder / "ck")["loss"] == run.result()["test_loss"]
    empty = trainer.tool("evaluate", run.folder / "ck", "--no_gpu", "--split=validation")
    assert "--split=validation: it is empty" in empty.refused()
    cut(tmp_path / "data", 200, 49)
    gone = trainer.tool("evaluate", run.folder / "ck", "--no_gpu").refused()
    assert "not what the run was trained on (another fingerprint)" in gone


def test_another_run_in_the_place_of_the_checkpoints(trainer, small, tmp_path):
    (tmp_path / "a").mkdir()
    first = trainer(*small, "--max_steps=1", folder=tmp_path / "a")
    kept = (first.folder / "out/result.json").read_bytes()
    trainer(*small, "--max_steps=1", "--lr=0.02", "--resume=never", folder=tmp_path / "a")
    (first.folder / "out/result.json").write_bytes(kept)
    text = trainer.tool("evaluate", first.folder / "out", "--no_gpu").refused()
    assert "holds another run now (lr: 0.01 in result.json, 0.02 there)" in text
