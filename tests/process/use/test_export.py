"""What is exported, read where this package isn't, against the checkpoint's answers."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_dist.data import idx, sources
from tests import warm
from tests.process.trainer import environment

PAGE = Path(__file__).parents[3] / "docs/use.md"
HANDWRITING = Path(__file__).parents[2] / "handwriting"

ELSEWHERE = """
import json, sys
sys.modules["mnist_dist"] = None  # importing it fails
import numpy as np, tensorflow as tf, keras
keras.config.disable_traceback_filtering()
for number, folder in enumerate(sys.argv[2:]):
    images = np.load(sys.argv[1])[: 10000 if number == 0 else 1003]
    signatures = tf.saved_model.load(folder).signatures
    assert list(signatures) == ["serving_default"]
    served = signatures["serving_default"]
    parts = [served(images=tf.constant(images[i : i + 1000])) for i in range(0, len(images), 1000)]
    of_keras = keras.models.load_model(folder + "/model.keras").predict(images, verbose=0)
    np.savez(
        folder + "/answers.npz",
        classes=np.concatenate([part["class"] for part in parts]),
        probabilities=np.concatenate([part["probabilities"] for part in parts]),
        of_keras=of_keras,
    )
print(json.dumps([str(served.structured_input_signature), str(served.structured_outputs)]))
"""

LOADERS = """
import json, sys
sys.modules["mnist_dist"] = None  # importing it fails
import numpy as np, tensorflow as tf, keras
from ai_edge_litert.interpreter import Interpreter
folder, images = sys.argv[1], np.load(sys.argv[2])
batches = [images[:0], images[:1], images[1:8]]
coloured, floats = np.zeros((1, 28, 28, 3), np.uint8), (images[:1] / 255).astype(np.float32)
wrong = {"coloured": coloured, "small": images[:1, :20], "flat": images[:1, :, :, 0]}

def refused(run, images):
    try:
        run(images)
    except (ValueError, tf.errors.OpError, RuntimeError, TypeError):
        return True
    return False

def served(images):
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    return signature(images=tf.constant(images))["probabilities"].numpy()

def serving(images):
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = graph.signature_def["serving_default"]
        feed = {signature.inputs["images"].name: images}
        return session.run(signature.outputs["probabilities"].name, feed)

def converted(images):
    model = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    run = Interpreter(model_content=model).get_signature_runner("serving_default")
    return run(images=images)["probabilities"]

def tflite(images):
    run = Interpreter(model_path=folder + "/model.tflite").get_signature_runner("serving_default")
    return run(images=images)["probabilities"]

def of_keras(images):
    return np.asarray(keras.models.load_model(folder + "/model.keras")(images))

found = {}
for run in (served, serving, converted, tflite, of_keras):
    # TFLite and, on some CPUs, Keras refuse an empty batch.
    answers = [run(batch) for batch in batches[run not in (served, serving) :]]
    found[run.__name__] = {
        "rows": [len(answer) for answer in answers],
        "answers": np.concatenate(answers).tolist(),
        "refused": [name for name, images in wrong.items() if refused(run, images)],
    }
found["floats refused"] = [refused(run, floats) for run in (served, converted, tflite)]
found["floats in Keras"] = bool(np.isnan(of_keras(floats)).all())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def images():
    return idx.read(sources.embedded_folder() / "t10k-images-idx3-ubyte.gz", 3)[..., np.newaxis]


@pytest.fixture(scope="module")
def runs(trainer, small, reader, rich):
    """Networks of all kinds of layers and precisions."""
    precise, coarse = (
        trainer(*small, "--batch_norm", f"--precision={precision}", "--epochs=1")
        for precision in ("float64", "mixed_bfloat16")
    )
    return {"reader": reader, "rich": rich, "precise": precise, "coarse": coarse}


@pytest.fixture(scope="module")
def exported(trainer, runs, images, tmp_path_factory):
    """The runs' exports, and what plain TensorFlow and Keras say of them in another process."""
    place, lines = tmp_path_factory.mktemp("served"), {}
    for name, run in runs.items():
        flags = ["--tflite"] if name == "reader" else []
        done = trainer.tool("export", run.folder / "ck", place / name, *flags)
        assert done.code == 0, done.err
        assert str(place / name / "1") in done.out
        lines[name] = done.out.splitlines()
    np.save(place / "images.npy", images)
    folders = [place / name / "1" for name in runs]
    done = warm.run(
        [sys.executable, "-c", ELSEWHERE, place / "images.npy", *folders],
        **{"capture_output": True, "text": True, "cwd": place, "timeout": 240},
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
    )
    assert done.returncode == 0, done.stderr
    return folders, json.loads(done.stdout), lines


TOLERANCE = {"reader": 2e-6, "rich": 2e-6, "precise": 1e-12, "coarse": 0.02}


@pytest.mark.parametrize("name", TOLERANCE)
def test_the_checkpoints_answers(trainer, exported, runs, images, name):
    """All 10,000 test images of MNIST's network, 1003 of the others."""
    count = 10_000 if name == "reader" else 1003
    classes, probabilities = trainer.predict(runs[name].folder / "ck", images[:count])
    with np.load(exported[0][list(runs).index(name)] / "answers.npz") as answers:
        assert answers["classes"].shape == (count,)
        assert (answers["classes"] == answers["probabilities"].argmax(1)).all()
        for kind in ("probabilities", "of_keras"):
            difference = np.abs(answers[kind] - probabilities).max()
            assert difference <= TOLERANCE[name]
            # In bfloat16, where two classes are that near, another one may be first.
            second, first = np.sort(probabilities, 1)[:, -2:].T
            clear = first - second > 2 * TOLERANCE[name]
            assert clear.mean() > (0.4 if name == "coarse" else 0.9)
            same = answers[kind].argmax(1) == classes
            assert (same[clear] if name == "coarse" else same).all()


def test_the_scores_are_the_runs(exported, reader):
    labels = idx.read(sources.embedded_folder() / "t10k-labels-idx1-ubyte.gz", 1)
    with np.load(exported[0][0] / "answers.npz") as answers:
        assert (answers["classes"] == labels).mean() == reader.result()["test_accuracy"]


def test_the_signature(exported):
    inputs, outputs = exported[1]
    assert "'images': TensorSpec(shape=(None, 28, 28, 1), dtype=tf.uint8, name='images')" in inputs
    assert "'class': TensorSpec(shape=(None,), dtype=tf.int64, name='class')" in outputs
    assert "'probabilities': TensorSpec(shape=(None, 10), dtype=tf.float32" in outputs


def test_every_loader_gives_the_checkpoints_answers(trainer, exported, reader, images):
    """TensorFlow 2's and 1's (Serving's), TFLite converted by us and by the user, Keras."""
    folder = exported[0][0]
    argv = [sys.executable, "-c", LOADERS, folder, folder.parents[1] / "images.npy"]
    where = {"capture_output": True, "text": True, "timeout": 240, "cwd": folder}
    done = warm.run(argv, **where, env=environment(TF_CPP_MIN_LOG_LEVEL="3"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("floats refused") == [True] * 3
    assert found.pop("floats in Keras")
    probabilities = trainer.predict(reader.folder / "ck", images[:8])[1]
    assert len(found) == 5
    for name, loader in found.items():
        assert loader["rows"] == ([0, 1, 7] if name in ("served", "serving") else [1, 7])
        np.testing.assert_allclose(loader["answers"], probabilities, rtol=0, atol=1e-5)
        flat = [] if name == "of_keras" else ["flat"]  # Keras adds the channel, and is right
        assert loader["refused"] == ["coloured", "small", *flat], name


def test_saved_model_cli(trainer, exported, reader, images, tmp_path):
    """Its `run` is TensorFlow 1's loader with files around it."""
    np.save(tmp_path / "seven.npy", images[:7])
    argv = ["run", "--dir", exported[0][0], "--tag_set", "serve", "--outdir", tmp_path]
    argv += ["--signature_def", "serving_default", "--inputs", f"images={tmp_path}/seven.npy"]
    module = "tensorflow.python.tools.saved_model_cli"
    done = warm.run(
        [sys.executable, "-m", module, *argv],
        **{"capture_output": True, "text": True, "timeout": 240},
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
    )
    assert done.returncode == 0, done.stderr
    probabilities = trainer.predict(reader.folder / "ck", images[:7])[1]
    answers = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_allclose(answers, probabilities, rtol=0, atol=1e-5)


def test_tflite_files_are_scored(exported, runs, reader):
    """The float file has the run's own score, and the quantised one its own beside it."""
    lines = [line for line in exported[2]["reader"] if "for TFLite" in line]
    folder = exported[0][0]
    sizes = [(folder / name).stat().st_size for name in ("model.tflite", "model-int8.tflite")]
    assert sizes[1] < 0.4 * sizes[0]
    scores = [float(re.search(r"bytes, ([\d.]+) %", line)[1]) for line in lines]
    assert scores[0] == pytest.approx(100 * reader.result()["test_accuracy"], abs=0.006)
    assert scores[1] == pytest.approx(scores[0], abs=0.5)
    assert "of 10,000 test images right" in lines[0]


def test_versions(trainer, every, tmp_path):
    """A new folder each time, whole at once: 10 comes after 9."""
    (tmp_path / "9").mkdir()
    (tmp_path / "notes").mkdir()
    done = trainer.tool("export", every.folder / "ck", tmp_path)
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "9", "notes"]
    names = {path.name for path in (tmp_path / "10").iterdir()}
    assert {"saved_model.pb", "variables", "model.keras"} <= names
    shutil.rmtree(tmp_path / "9")
    (tmp_path / "file").write_text("")
    assert (
        "can't write there"
        in trainer.tool("export", every.folder / "ck", tmp_path / "file").refused()
    )


def snippets():
    """The page's Python blocks by their first line's import and what they end with."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)


def test_the_pages_examples(exported, rich, reader, images, tmp_path):
    """Each Python block of docs/use.md, in a process of its own kind: one for all."""
    load, served, lite, names = snippets()
    assert len([line for line in names.splitlines() if line]) == 5
    names = names.replace("RUN_DIR/checkpoints/ckpt-STEP", str(rich.folder / "ck/ckpt-40"))
    wanted = sorted(
        f"model/{name}"
        for conv in ("conv1", "conv2")
        for layer in (conv, f"{conv}b", f"{conv}s")
        for name in (f"{layer}/kernel", f"{layer}/bias")
    )
    code = [
        "import sys, numpy as np",
        f"images = np.load({str(exported[0][0].parents[1] / 'images.npy')!r})[:50]",
        f"from PIL import Image; picture = Image.open({str(tmp_path / 'b.jpg')!r})",
        load.replace("RUN_DIR", str(reader.folder / "ck")),
        "classes, shares = answer",
        "assert [top[0][0] for top in answer.top(3)] == classes.tolist()",
        served.replace("OUT/1", str(exported[0][0])),
        "assert (answer['class'].numpy() == classes).all()",
        "assert (probabilities.argmax(1) == classes).all()",
        lite.replace("OUT/1", str(exported[0][0])),
        "assert (answer['class'] == classes).all()",
        names,
        f"print([read(name).ndim for name in {wanted!r}])",
        "print(read('model/conv1/scale').shape, read('optimizer/average/conv1/kernel').shape)",
    ]
    Image.open(HANDWRITING / "3-shadow.jpg").save(tmp_path / "a.png")
    shutil.copy(HANDWRITING / "3-shadow.jpg", tmp_path / "b.jpg")
    done = warm.run(
        [sys.executable, "-c", "\n".join(code)],
        **{"capture_output": True, "text": True, "timeout": 240, "cwd": tmp_path},
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
    )
    assert done.returncode == 0, done.stderr
    shape, dimensions, others = done.stdout.splitlines()[-3:]
    assert shape == "(5, 5, 1, 2)"
    assert json.loads(dimensions) == [1, 4] * 6
    assert others == "(2,) (5, 5, 1, 2)"
