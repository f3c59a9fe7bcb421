"""What a step does to the loss and its gradient: smoothing, clipping, averages, loss scale.

The network is softmax regression on 2x2 images, so NumPy has its gradient in two lines.
TensorFlow is in this process: one replica.
"""

import numpy as np
import pytest
import tensorflow as tf

from mnist_dist.assembly import optimizer as optimizer_settings
from mnist_dist.config import Config
from mnist_dist.data.order import Order
from mnist_dist.data.pipeline import Trainset
from mnist_dist.data.split import Split
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.augment import Augmentation
from mnist_dist.network.model import Network
from mnist_dist.training.evaluation import evaluate
from mnist_dist.training.loss_scale import GROWTH_STEPS, START, LossScale
from mnist_dist.training.optim import Optimizer
from mnist_dist.training.replica import Settings, cross_entropy
from mnist_dist.training.state import State
from mnist_dist.training.steps import Steps

CLASSES, STEPS, BATCH, LR = 3, 4, 5, 0.5
SPLIT = Split(
    np.random.default_rng(3).integers(0, 256, (STEPS * BATCH, 2, 2, 1), np.uint8),
    np.random.default_rng(4).integers(0, CLASSES, STEPS * BATCH).astype(np.int32),
)


class Machine:
    """Softmax regression under the program's own steps."""

    def __init__(
        self, ema=0.0, smoothing=0.0, clip=0.0, precision="float64", scale=None, shards=0, groups=1
    ):
        self.strategy = tf.distribute.get_strategy()
        self.network = Network(
            Architecture((2, 2, 1), CLASSES, (), 5, (), 0.0, precision=precision)
        )
        settings = optimizer_settings(Config(optimizer="sgd", ema=ema))
        self.optimizer = Optimizer(settings, self.network.variables)
        settings = Settings(
            *(0, smoothing, clip, "float32", Augmentation()),
            **{"eager": False, "shards": shards, "accumulate_steps": groups},
        )
        scale = scale or LossScale(dynamic=False)
        state = State(self.network, self.optimizer, scale)
        self.steps = Steps(self.strategy, state, settings)
        order = Order(0, len(SPLIT.labels), BATCH)
        self.trainset = Trainset(SPLIT, order, 1, 1, STEPS, shards)

    def train(self, steps=STEPS):
        """Loss of each step."""
        return self.rows(steps)[:, 0]

    def rows(self, steps=STEPS, requests=0.0):
        """[loss, accuracy, requests, 1 if the gradient isn't finite, norm] of each step."""
        block = tf.nest.map_structure(tf.constant, self.trainset.block(range(STEPS), 0))
        rates = tf.fill([STEPS], tf.constant(LR, self.steps.dtype))
        requests = tf.constant(requests, self.steps.dtype)
        return self.steps.train(block, rates, tf.constant(steps), requests).numpy()[:steps]

    def weights(self):
        """[4 pixels + 1, classes]: kernel and, below it, bias."""
        return np.vstack(
            [self.network.variables[f"logits/{n}"].numpy() for n in ("kernel", "bias")]
        )


def batch(machine, step):
    """Pixels with a one behind them, and labels, of a global step."""
    ids = np.concatenate(machine.trainset.example_ids(step, 0))
    pixels = SPLIT.images[ids].reshape(BATCH, 4) / 255.0
    return np.hstack([pixels, np.ones((BATCH, 1))]), SPLIT.labels[ids]


def loss_and_gradient(weights, pixels, labels, smoothing=0.0):
    logits = pixels @ weights
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.eye(CLASSES)[labels] * (1 - smoothing) + smoothing / CLASSES
    loss = -(targets * np.log(softmax)).sum(1).mean()
    return loss, pixels.T @ (softmax - targets) / len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_smoothing_and_clipping_by_hand(smoothing, clip):
    machine = Machine(smoothing=smoothing, clip=clip)
    weights, wanted, norms = machine.weights(), [], []
    for step in range(STEPS):
        loss, gradient = loss_and_gradient(weights, *batch(machine, step), smoothing)
        norms.append(np.sqrt((gradient**2).sum()))  # of kernel and bias together
        if clip:
            gradient = gradient * min(1.0, clip / norms[-1])
        weights = weights - LR * gradient
        wanted.append(loss)
    assert min(norms) > 0.2, "clipping would do nothing"
    np.testing.assert_allclose(machine.train(), wanted, 1e-12)
    np.testing.assert_allclose(machine.weights(), weights, 1e-9)


@pytest.mark.parametrize(("shards", "groups"), [(0, 1), (2, 1), (4, 1), (4, 2), (8, 4)])
def test_shards_by_hand(shards, groups):
    """Five images are uneven over four shards; of eight, three have none."""
    machine = Machine(smoothing=0.3, shards=shards, groups=groups)
    weights = machine.weights()
    for step, (loss, accuracy, *rest) in enumerate(machine.rows(requests=2.0)):
        pixels, labels = batch(machine, step)
        wanted, gradient = loss_and_gradient(weights, pixels, labels, 0.3)
        assert loss == pytest.approx(wanted, rel=1e-12)
        assert accuracy == pytest.approx(np.mean(np.argmax(pixels @ weights, 1) == labels))
        assert rest[:2] == [2.0, 0.0]
        weights = weights - LR * gradient
    np.testing.assert_allclose(machine.weights(), weights, 1e-9)
    machine.network.variables["logits/bias"].assign([np.inf, 0.0, 0.0])
    assert machine.rows(1)[0, 3] == 1.0


def test_a_gradient_below_the_norm_is_left_alone():
    free, limited = Machine(), Machine(clip=50.0)
    free.train()
    limited.train()
    np.testing.assert_allclose(limited.weights(), free.weights(), 1e-12)


def test_smoothed_cross_entropy_of_equal_logits():
    """All logits equal: log 10 whatever the targets are. One far ahead: smoothing costs."""
    equal = tf.zeros([1, 10], "float64")
    sure = tf.one_hot([3], 10, 50.0, dtype="float64")
    label = tf.constant([3])
    for smoothing in (0.0, 0.1):
        assert cross_entropy(equal, label, smoothing).numpy() == pytest.approx([np.log(10)])
    assert cross_entropy(sure, label, 0.0).numpy() == pytest.approx([0.0], abs=1e-12)
    # 0.1 / 10 of the target lies on each of 9 classes whose log-probability is -50.
    assert cross_entropy(sure, label, 0.1).numpy() == pytest.approx([0.01 * 9 * 50])


def score(machine, averaged):
    """As the loop does it: with the averages exchanged for the weights, and then back."""
    placement = ReplicaPlacement(machine.strategy, ("/cpu:0",), 0)
    if averaged:
        machine.steps.swap_averages()
    found = evaluate(machine.steps, placement, SPLIT)
    if averaged:
        machine.steps.swap_averages()
    return found


def test_averages_are_what_is_scored_and_are_not_trained_on():
    ema = Machine(ema=0.8)
    weights = average = ema.weights()
    for step in range(STEPS):
        _, gradient = loss_and_gradient(weights, *batch(ema, step))
        weights = weights - LR * gradient
        average = 0.8 * average + 0.2 * weights
    ema.train()
    np.testing.assert_allclose(ema.weights(), weights, 1e-9)
    pixels = np.hstack([SPLIT.images.reshape(-1, 4) / 255.0, np.ones((len(SPLIT.labels), 1))])
    for averaged, held in ((True, average), (False, weights)):
        wanted, _ = loss_and_gradient(held, pixels, SPLIT.labels)
        right = (np.argmax(pixels @ held, 1) == SPLIT.labels).mean()
        found = score(ema, averaged)
        assert found.loss == pytest.approx(wanted, rel=1e-7)  # averages of float32 constants
        assert found.accuracy == right
        np.testing.assert_allclose(ema.weights(), weights, 1e-9)
    assert score(ema, True).loss != score(ema, False).loss


def test_evaluation_is_without_smoothing():
    plain, smooth = Machine(), Machine(smoothing=0.3)
    assert score(plain, False).loss == score(smooth, False).loss


class TestLossScale:
    """Halved by a gradient that isn't finite, whose step is skipped; doubled after 2,000 others."""

    @pytest.fixture
    def scale(self):
        return LossScale(dynamic=True)

    def test_static_does_nothing(self):
        scale, done = LossScale(dynamic=False), []
        assert scale.up(3.0) == scale.down(3.0) == 3.0
        scale.guard([tf.constant(np.inf)], lambda: done.append(1))
        assert (done, scale.variables) == ([1], {})

    def test_up_and_down(self, scale):
        assert scale.up(tf.constant(2.0)).numpy() == 2.0 * START
        assert scale.down(scale.up(tf.constant(0.7))).numpy() == np.float32(0.7)

    @pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
    def test_one_bad_number_anywhere_skips_the_step(self, scale, bad):
        done = tf.Variable(0)
        scale.variables["finite_steps"].assign(7)
        gradients = [tf.ones([2, 2]), tf.constant([0.0, bad, 0.0])]
        tf.function(scale.guard)(gradients, lambda: done.assign_add(1))
        assert done.numpy() == 0
        assert scale.variables["scale"].numpy() == START / 2
        assert scale.variables["finite_steps"].numpy() == 0

    def test_grows_after_so_many_good_steps_in_a_row(self, scale):
        done = tf.Variable(0)

        @tf.function
        def guard(steps):
            for _ in tf.range(steps):
                scale.guard([tf.ones([2])], lambda: done.assign_add(1))

        found = []
        for steps in (GROWTH_STEPS - 1, 1, GROWTH_STEPS - 1, 1):
            guard(tf.constant(steps))
            found.append(float(scale.variables["scale"].numpy()))
        assert found == [START, 2 * START, 2 * START, 4 * START]
        assert done.numpy() == 2 * GROWTH_STEPS

    def test_does_not_fall_below_one(self, scale):
        scale.variables["scale"].assign(1.0)
        scale.guard([tf.constant(np.nan)], lambda: None)
        assert scale.variables["scale"].numpy() == 1.0

    def test_in_a_step_the_update_is_that_without_a_scale(self, scale):
        """A factor of two is exact in float32."""
        plain, scaled = Machine(precision="float32"), Machine(precision="float32", scale=scale)
        np.testing.assert_array_equal(plain.train(), scaled.train())
        np.testing.assert_array_equal(plain.weights(), scaled.weights())
        scaled.network.variables["logits/bias"].assign([np.inf, 0.0, 0.0])
        before = scaled.weights()
        scaled.train(1)
        np.testing.assert_array_equal(scaled.weights(), before)
        assert scale.variables["scale"].numpy() == START / 2
