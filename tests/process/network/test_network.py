"""The network's forward pass against loops in NumPy, and what --describe says of it.

TensorFlow is in this process: one replica, float64.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_dist.assembly import optimizer as optimizer_settings
from mnist_dist.config import Config
from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.split import Split
from mnist_dist.errors import UsageError
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.describe import table
from mnist_dist.network.model import Network
from mnist_dist.network.row_positions import RowPositions
from mnist_dist.training.loss_scale import LossScale
from mnist_dist.training.optim import Optimizer
from mnist_dist.training.replica import Settings
from mnist_dist.training.state import State
from mnist_dist.training.steps import Steps

SHAPE = (9, 7, 2)
NOTEBOOK = Architecture((28, 28, 1), 10)


def build(**changes):
    """A small network with random weights and statistics."""
    given = {"conv_filters": (3, 3), "kernel_size": 3, "dense_units": (5, 4), "dropout": 0.0}
    network = Network(Architecture(SHAPE, 6, precision="float64", **{**given, **changes}))
    random = np.random.default_rng(5)
    for name, variable in network.variables.items():
        low = 0.5 if name.endswith(("variance", "scale")) else -1.0
        variable.assign(random.uniform(low, 1.0, variable.shape))
    return network


def images(count, shape=SHAPE):
    return np.random.default_rng(6).random((count, *shape))


def rows(real, first=0, seed=0, step=0):
    return RowPositions(seed, tf.constant(step, tf.int64), tf.constant(first, tf.int64), real, list)


class ByHand:
    """The same network as the papers have it; `real` rows decide a batch's statistics."""

    def __init__(self, network, real=None):
        self.architecture, self.real = network.architecture, real
        self.v = {name: variable.numpy() for name, variable in network.variables.items()}
        self.moments = {}

    def __call__(self, x):
        for number in range(1, len(self.architecture.conv_filters) + 1):
            x = pool(self.block(f"conv{number}", x))
        x = x.reshape(len(x), -1)
        for number in range(1, len(self.architecture.dense_units) + 1):
            name = f"dense{number}"
            x = np.maximum(
                self.norm(name, x @ self.v[f"{name}/kernel"] + self.v[f"{name}/bias"]), 0
            )
        return x @ self.v["logits/kernel"] + self.v["logits/bias"]

    def block(self, name, x):
        y = self.norm(name, self.conv(name, x))
        if not self.architecture.residual:
            return np.maximum(y, 0)
        y = self.norm(f"{name}b", self.conv(f"{name}b", np.maximum(y, 0)))
        projected = self.conv(f"{name}s", x) if f"{name}s/kernel" in self.v else x
        return np.maximum(y + projected, 0)

    def conv(self, name, x):
        kernel, bias = self.v[f"{name}/kernel"], self.v[f"{name}/bias"]
        side = kernel.shape[0]
        if self.architecture.residual:  # zeros around, so that the map keeps its size
            around = (side - 1) // 2, side // 2
            x = np.pad(x, ((0, 0), around, around, (0, 0)))
        height, width = x.shape[1] - side + 1, x.shape[2] - side + 1
        y = np.empty((len(x), height, width, kernel.shape[3]))
        for i, j in itertools.product(range(height), range(width)):
            y[:, i, j] = np.tensordot(x[:, i : i + side, j : j + side], kernel, 3) + bias
        return y

    def norm(self, name, y):
        if not self.architecture.batch_norm:
            return y
        mean, variance = self.v[f"{name}/moving_mean"], self.v[f"{name}/moving_variance"]
        if self.real is not None:
            counted = y[: self.real].reshape(-1, y.shape[-1])
            mean, variance = self.moments[name] = counted.mean(0), counted.var(0)
        unit = (y - mean) / np.sqrt(variance + 1e-3)
        return unit * self.v[f"{name}/scale"] + self.v[f"{name}/offset"]


def pool(x):
    """The largest of each 2x2; a last odd row or column alone."""
    height, width = x.shape[1:3]
    y = np.empty((len(x), -(-height // 2), -(-width // 2), x.shape[3]))
    for i, j in itertools.product(range(y.shape[1]), range(y.shape[2])):
        y[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return y


VARIANTS = [
    {},
    {"batch_norm": True},
    {"residual": True},
    {"residual": True, "batch_norm": True},
    {"residual": True, "batch_norm": True, "kernel_size": 4, "conv_filters": (2, 5, 5, 3)},
    {"conv_filters": (), "batch_norm": True},
    {"dense_units": (), "batch_norm": True},
    {"conv_filters": (4,), "kernel_size": 5, "dense_units": (7,)},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_inference(changes):
    network, x = build(**changes), images(3)
    logits, statistics = network(tf.constant(x))
    np.testing.assert_allclose(logits.numpy(), ByHand(network)(x), 1e-9, 1e-12)
    assert statistics == {}


@pytest.mark.parametrize("changes", [v for v in VARIANTS if "batch_norm" in v], ids=str)
def test_training_counts_real_rows_alone(changes):
    """Rows past the real ones are padding: whatever they hold, the others don't see it."""
    network, x = build(**changes), images(6)
    x[4:] = [[[[100.0, -50.0]]]]
    logits, statistics = network(tf.constant(x), rows(real=4))
    by_hand = ByHand(network, real=4)
    np.testing.assert_allclose(logits.numpy()[:4], by_hand(x)[:4], 1e-8, 1e-10)
    assert len(statistics) == 2 * len(by_hand.moments) > 0
    for name, (mean, variance) in by_hand.moments.items():
        found = statistics[f"{name}/moving_mean"], statistics[f"{name}/moving_variance"]
        np.testing.assert_allclose(found[0].numpy(), 4 * mean, 1e-8, 1e-10)
        np.testing.assert_allclose(found[1].numpy(), 4 * variance, 1e-8, 1e-10)


def test_an_empty_batch_gives_finite_numbers():
    logits, statistics = build(batch_norm=True)(tf.constant(images(2)), rows(real=0))
    assert np.isfinite(logits.numpy()).all()
    assert all((value.numpy() == 0.0).all() for value in statistics.values())


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_moving_averages_over_steps(micro_batches):
    """Nine images in batches of five: 0.9 of the old and 0.1 of the batch, the last one of four.

    With two micro-batches theirs are weighed by their images: 2 and 3, then 2 and 2.
    """
    network = build(batch_norm=True)
    split = Split((images(9) * 255).astype(np.uint8), np.arange(9, dtype=np.int32) % 6)
    trainset = Trainset(split, Order(0, 9, 5), micro_batches, 1, 2)
    trainable = {name: network.variables[name] for name in network.trainable}
    optimizer = Optimizer(optimizer_settings(Config(optimizer="sgd")), trainable)
    settings = Settings(0, 0.0, 0.0, "float32", Augmentation(), eager=False)
    state = State(network, optimizer, LossScale(False))
    steps = Steps(tf.distribute.get_strategy(), state, settings)
    wanted = {n: v.numpy() for n, v in network.variables.items() if "/moving_" in n}
    for step in range(2):
        batch = dict.fromkeys(wanted, 0.0)
        ids = trainset.example_ids(step, 0)
        for part in ids:
            by_hand = ByHand(network, real=len(part))
            by_hand(split.images[part] / 255.0)
            for name, (mean, variance) in by_hand.moments.items():
                share = len(part) / sum(map(len, ids))
                batch[f"{name}/moving_mean"] += share * mean
                batch[f"{name}/moving_variance"] += share * variance
        wanted = {name: 0.9 * wanted[name] + 0.1 * batch[name] for name in wanted}
    block = tf.nest.map_structure(tf.constant, trainset.block(range(2), 0))
    still = tf.zeros([2], "float64")  # at a rate of 0 the weights stay
    steps.train(block, still, tf.constant(2), still[0])
    for name, value in wanted.items():
        np.testing.assert_allclose(network.variables[name].numpy(), value, 1e-6, 1e-9)


class TestDropout:
    """Seen through a network whose logits are its pixels: 16 of them."""

    RATE = 0.25

    @pytest.fixture
    def network(self):
        what = Architecture((4, 4, 1), 16, (), 3, (), self.RATE, precision="float64")
        network = Network(what)
        network.variables["logits/kernel"].assign(np.eye(16))
        return network

    def seen(self, network, count, first=0, **where):
        ones = tf.ones([count, 4, 4, 1], "float64")
        return network(ones, rows(count, first, **where))[0].numpy()

    def test_rate_and_scale(self, network):
        found = self.seen(network, 1000)
        np.testing.assert_allclose(np.unique(found), [0.0, 1 / 0.75])
        deviation = np.sqrt(16000 * 0.25 * 0.75)
        assert abs((found == 0).sum() - 4000) < 5 * deviation
        assert abs((found == 0).sum(0) - 250).max() < 5 * np.sqrt(1000 * 0.25 * 0.75)

    @pytest.mark.parametrize("cut", [1, 3, 6])
    def test_does_not_depend_on_the_cut_of_the_batch(self, network, cut):
        parts = [self.seen(network, cut), self.seen(network, 7 - cut, first=cut)]
        np.testing.assert_array_equal(np.concatenate(parts), self.seen(network, 7))

    def test_stateless_by_seed_step_and_row(self, network):
        found = [
            self.seen(network, 8),
            self.seen(network, 8, step=1),
            self.seen(network, 8, seed=1),
            self.seen(network, 8, first=8),
        ]
        np.testing.assert_array_equal(found[0], self.seen(network, 8))
        everything = np.concatenate(found)
        assert len(np.unique(everything, axis=0)) == len(everything)

    def test_none_in_inference(self, network):
        assert (network(tf.ones([2, 4, 4, 1], "float64"))[0].numpy() == 1.0).all()

    def test_is_on_the_last_hidden_layer(self):
        """With hidden layers it is their units that are dropped, not pixels."""
        network = build(dense_units=(5, 4), dropout=0.9, seed=0)
        x = tf.constant(np.repeat(images(1), 200, 0))
        kept = network(x, rows(200))[0].numpy() - network.variables["logits/bias"].numpy()
        hidden = np.linalg.lstsq(network.variables["logits/kernel"].numpy().T, kept.T, rcond=None)
        values = [np.unique(column.round(9)) for column in hidden[0]]
        assert all(len(v) <= 2 and 0.0 in v for v in values)
        assert any(len(v) == 2 for v in values)


def test_initial_weights():
    """Glorot's uniform range, another draw for each layer and seed, the same in each precision."""
    what = {"conv_filters": (8,), "kernel_size": 3, "dense_units": (40,), "seed": 2}
    network = Network(Architecture((12, 12, 1), 10, **what))
    for name, fans in (("conv1", 9 + 9 * 8), ("dense1", 200 + 40), ("logits", 40 + 10)):
        kernel, limit = network.variables[f"{name}/kernel"].numpy(), np.sqrt(6 / fans)
        assert abs(kernel).max() <= limit
        assert abs(kernel).max() > 0.9 * limit
        assert (network.variables[f"{name}/bias"].numpy() == 0).all()
    for precision in ("float64", "mixed_bfloat16"):
        other = Network(Architecture((12, 12, 1), 10, precision=precision, **what))
        for name, variable in network.variables.items():
            np.testing.assert_array_equal(other.variables[name].numpy(), variable.numpy())
    other = Network(Architecture((12, 12, 1), 10, **{**what, "seed": 3}))
    for name in ("conv1", "dense1", "logits"):
        assert (
            other.variables[f"{name}/kernel"].numpy() != network.variables[f"{name}/kernel"]
        ).all()


def test_the_notebooks_network_described():
    """Parameters and MFLOPs worked out on paper: 2 * 5 * 5 * 32 * 64 * 8 * 8 for conv2, ..."""
    assert table(NOTEBOOK.stages) == "\n".join(
        [
            "layer   output    parameters  MFLOP",
            "conv1   24x24x32         832  0.922",
            "pool1   12x12x32           0  0.000",
            "conv2   8x8x64        51,264  6.554",
            "pool2   4x4x64             0  0.000",
            "dense1  1024       1,049,600  2.097",
            "logits  10            10,250  0.020",
            "total              1,111,946  9.593",
        ]
    )


def test_a_residual_network_described():
    """28x28 -> 14x14 -> 7x7; the second block has as many channels as it gets: no projection."""
    what = Architecture((28, 28, 1), 10, (4, 4), 3, (), batch_norm=True, residual=True)
    network = Network(what)
    found = [(s.name, s.shape, s.parameters, s.flops) for s in network.stages]
    map1, map2 = 28 * 28, 14 * 14
    assert found == [
        ("conv1", (28, 28, 4), 9 * 4 + 4 + 16, 2 * 9 * 4 * map1),
        ("conv1b", (28, 28, 4), 9 * 16 + 4 + 16, 2 * 9 * 16 * map1),
        ("conv1s", (28, 28, 4), 4 + 4, 2 * 4 * map1),
        ("pool1", (14, 14, 4), 0, 0),
        ("conv2", (14, 14, 4), 9 * 16 + 4 + 16, 2 * 9 * 16 * map2),
        ("conv2b", (14, 14, 4), 9 * 16 + 4 + 16, 2 * 9 * 16 * map2),
        ("pool2", (7, 7, 4), 0, 0),
        ("logits", (10,), 196 * 10 + 10, 2 * 196 * 10),
    ]
    assert sum(s.parameters for s in network.stages) == sum(
        np.prod(v.shape) for v in network.variables.values()
    )


def test_it_counts_parameters_as_keras_does():
    k = keras.layers
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), k.Conv2D(32, 5), k.MaxPool2D(), k.Conv2D(64, 5)]
    )
    model.add(k.MaxPool2D())
    for layer in (k.Flatten(), k.Dense(1024), k.Dropout(0.5), k.Dense(10)):
        model.add(layer)
    assert model.count_params() == sum(s.parameters for s in Network(NOTEBOOK).stages) == 1_111_946


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"conv_filters": (8, 8, 8)},
            "--conv_filters=8,8,8: convolution 3 gets a feature map of 4x4, less than its kernel "
            "of 5x5; give fewer convolutions, a smaller --kernel_size, or --residual, which pads",
        ),
        ({"kernel_size": 29}, "convolution 1 gets a feature map of 28x28, less than its kernel of"),
        ({"conv_filters": (8,) * 5, "kernel_size": 3}, "convolution 4 gets a feature map of 2x2"),
        ({"kernel_size": 14}, "convolution 2 gets a feature map of 8x8"),
    ],
)
def test_a_feature_map_that_would_vanish_is_refused(changes, words):
    with pytest.raises(UsageError) as caught:
        Network(Architecture((28, 28, 1), 10, **changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_last_size_that_fits():
    """28 -> 25 -> 13 -> 10 -> 5 -> 2 -> 1 by a kernel of 4; with padding a map of 1 stays 1."""
    assert Network(Architecture((28, 28, 1), 10, (8, 8, 8), 4)).stages[5].shape == (1, 1, 8)
    assert Network(Architecture((28, 28, 1), 10, (2,) * 7, 5, residual=True)).stages[-1].shape
