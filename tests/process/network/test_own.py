"""--network: a user's own network keeps the promises of the built-in one, or is refused by name."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_dist.config import Config
from mnist_dist.errors import UsageError
from tests.curves import LOCAL
from tests.mnist_files import cut
from tests.process.trainer import TRAIN, train

NETWORKS = Path(__file__).parents[3] / "docs/networks"
HEAD = """
import keras
from keras import layers
import numpy as np
from mnist_dist import layers as ours

def network(shape, classes):
    x = images = keras.Input(shape)
    {}
    return keras.Model(images, layers.Dense(classes, name="logits")(layers.Flatten()(x)))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    cut(folder, 600, 203)
    return folder


SMALLER = {
    "vit": {"WIDTH, HEADS, DEPTH = 7, 64, 4, 4\n": "WIDTH, HEADS, DEPTH = 7, 32, 2, 2\n"},
    "resnet": {
        "STAGES = (16, 32, 64)\n": "STAGES = (8, 16)\n",
        "        x = block(x, filters, stride=1)\n": "",
    },
}
"""Lines of the files in docs/networks, and what makes the networks smaller.

All kinds of layers remain, two blocks, and in resnet a shortcut with a convolution.
"""


@pytest.fixture(scope="module")
def small_networks(tmp_path_factory):
    """A folder with the files of docs/networks in the smaller sizes."""
    folder = tmp_path_factory.mktemp("networks")
    for name, lines in SMALLER.items():
        text = (NETWORKS / f"{name}.py").read_text()
        for line, smaller in lines.items():
            assert text.count(line) == 1
            text = text.replace(line, smaller)
        (folder / f"{name}.py").write_text(text)
    return folder


def flags(data, name, *more, networks=NETWORKS):
    path = networks / f"{name}.py:{name}"
    return (
        *("--no_gpu", f"--network={path}", f"--data_dir={data}", "--validation_size=0"),
        *("--batch_size=50", "--optimizer=adam", "--log_interval=1", "--max_steps=14", *more),
    )


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_the_same_bits_on_any_number_of_replicas(data, small_networks, tmp_path, name):
    """With shards: one replica alone, and four, stopped after an epoch, resumed on two workers.

    50 images are uneven over 4 shards.
    """
    assert (NETWORKS / f"{name}.py").read_text().count("\n") < 100
    given = flags(data, name, "--shards=4", networks=small_networks)
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    one = train(tmp_path / "one", *given)
    four = train(tmp_path / "several", *given, "--virtual_devices=4", "--epochs=1")
    local = (sys.executable, "-c", LOCAL, "2", *TRAIN)  # launch/local.sh's workers
    two = train(tmp_path / "several", *given, "--connect_timeout=100", command=local)
    assert one.code == four.code == two.code == 0, one.err + four.err + two.err
    assert [run.result()["steps"] for run in (one, two)] == [14, 14]
    assert "Goes on from" in two.out
    assert (two.result()["num_workers"], two.result()["num_replicas"]) == (2, 2)
    assert two.result()["weights_sha256"] == one.result()["weights_sha256"]
    assert two.losses() == one.losses()


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_from_the_folder_alone(trainer, data, tmp_path, name):
    """The file is in the checkpoint: it may be gone. Export without this package's layers."""
    path = tmp_path / f"{name}.py"
    shutil.copy(NETWORKS / f"{name}.py", path)
    given = [f"--network={path}:{name}" if "--network" in f else f for f in flags(data, name)]
    run = trainer(*given)
    assert run.code == 0, run.err
    stages = trainer.main(*given, "--describe").out
    total = int(re.search(r"total +([\d,]+)", stages)[1].replace(",", ""))
    weights = trainer.weights(run.folder / "ck/ckpt-14")
    own = {n: w for n, w in weights.items() if n.startswith("model/")}
    assert sum(w.size for w in own.values()) == run.result()["parameters"] == total
    path.unlink()
    done = trainer.tool("evaluate", run.folder / "ck", "--no_gpu", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["loss"] == run.result()["test_loss"]
    assert trainer.tool("export", run.folder / "ck", tmp_path / "out").code == 0
    images = np.random.default_rng(3).integers(0, 256, (7, 28, 28, 1)).astype(np.uint8)
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "out/1")).signatures["serving_default"]
    answers = served(images=tf.constant(images))["probabilities"].numpy()
    probabilities = trainer.predict(run.folder / "ck", images)[1]
    np.testing.assert_allclose(answers, probabilities, rtol=0, atol=1e-5)
    # Another text of the file is another network.
    path.write_text((NETWORKS / f"{name}.py").read_text() + "\n# changed\n")
    again = trainer(*given, folder=run.folder)
    assert "network_file: " in again.refused()


def test_replicas_share_batch_statistics(data, small_networks, tmp_path):
    """In float64, without shards: the curve of one replica, with normalisation over both."""
    common = flags(data, "resnet", "--precision=float64", networks=small_networks)
    cases = {"one": (*common,), "two": (*common, "--virtual_devices=2")}
    one, two = (train(tmp_path / n, *f) for n, f in cases.items() if not (tmp_path / n).mkdir())
    assert one.code == two.code == 0, one.err + two.err
    for step, loss in one.losses().items():
        assert two.losses()[step] == pytest.approx(loss, rel=1e-9)


RANDOM = "layers.Lambda(lambda v: v + __import__('tensorflow').random.normal([1]))(x)"
OTHER = "lambda s, dtype: keras.random.normal(s, seed=int.from_bytes(__import__('os').urandom(3)))"
REFUSED = {
    "x = layers.Dropout(0.5)(x)": r"layer dropout \(Dropout\) .* take mnist_dist.layers.Dropout",
    "x = layers.BatchNormalization()(x)": "batch_normalization .* take mnist_dist.layers.Batch",
    "x = layers.GaussianNoise(0.1)(x)": r"layer gaussian_noise \(GaussianNoise\) draws random",
    "x = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)": "multi_head_attention .* draws",
    "x = layers.SpectralNormalization(layers.Dense(3))(x)": "spectral_normalization .* has state",
    "x = layers.Dense(3, kernel_regularizer='l2')(x)": r"layer dense \(Dense\) adds to the loss",
    "x = layers.Dense(3, kernel_constraint='non_neg')(x)": r"dense \(Dense\) has a constraint",
    "x = x - keras.ops.mean(x, axis=0, keepdims=True)": r"layer subtract .* mixes the images",
    f"x = {RANDOM}": r"layer lambda \(Lambda\) has state .*\(TensorFlow's RandomStandardNormal\)",
    f"x = layers.Dense(3, kernel_initializer={OTHER})(x)": "layer dense begins with other weights",
    "raise KeyError('no')": "line 9: KeyError: 'no'; mend the function",
    "return 3": "network returns int; return a functional or Sequential keras.Model",
    "classes = 3": r"from \(None, 28, 28, 1\) to \(None, 3\); return one from .* to \(None, 10\)",
    "x = ours.Dropout(1.5)(x)": r"Dropout\(1.5\): give a rate from 0 to less than 1",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_would_break_a_promise_is_refused_by_name(trainer, data, tmp_path, line):
    path = tmp_path / "own.py"
    path.write_text(HEAD.format(line))
    run = trainer(
        "--no_gpu", f"--network={path}:network", f"--data_dir={data}", "--validation_size=0"
    )
    assert re.search(REFUSED[line], run.refused()), run.err
    assert f"--network={path}:network: " in run.err


def test_refused_at_the_door(trainer, data, tmp_path):
    path = tmp_path / "own.py"
    path.write_text("def other(): pass\nx = (")
    common = ("--no_gpu", f"--data_dir={data}", "--validation_size=0")
    assert "can't read the file (No such file" in trainer(*common, "--network=no.py:f").refused()
    assert "SyntaxError" in trainer(*common, f"--network={path}:f").refused()
    path.write_text("def other(): pass\n")
    assert "the file has no function f" in trainer(*common, f"--network={path}:f").refused()
    for given in ({"dropout": 0.1}, {"xla": "on"}, {"data_format": "channels_first"}):
        with pytest.raises(UsageError, match=f"--{next(iter(given))}"):
            Config(network="a.py:f", **given)
    with pytest.raises(UsageError, match=r"give FILE.py:FUNCTION"):
        Config(network="a.py")


def test_no_gradient_is_summed_by_add_n(tmp_path):
    """Three uses of a tensor: TensorFlow's AddN would add them in changing order."""
    import tensorflow as tf

    from mnist_dist.network import keras_graph

    keras_graph.add_gradients_in_order()

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.sin(x) + tf.cos(x) + tf.exp(x) + tf.square(x)
        return tape.gradient(y, x)

    graph = gradient.get_concrete_function(tf.TensorSpec([3])).graph
    assert "AddN" not in {op.type for op in graph.get_operations()}
    x = np.array([0.1, 0.2, 0.3], np.float32)
    np.testing.assert_allclose(
        gradient(tf.constant(x)), np.cos(x) - np.sin(x) + np.exp(x) + 2 * x, rtol=1e-6
    )
