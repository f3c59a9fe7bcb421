"""Each update rule over several steps, against NumPy written from the rule's paper.

TensorFlow is in this process: one replica, tiny variables.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_dist.assembly import optimizer as optimizer_settings
from mnist_dist.config import Config
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.model import Network
from mnist_dist.optimizers import OPTIMIZERS
from mnist_dist.optimizers import Optimizer as Entry
from mnist_dist.training.optim import Optimizer, OptimizerSettings

SHAPES = {
    "dense1/kernel": (3, 4),
    "dense1/bias": (4,),
    "conv1/kernel": (2, 2, 1, 3),
    "logits/kernel": (4, 2),
}
RATES = [0.1, 0.3, 0.2]
EPSILON = 1e-3  # large, so that its place shows


class Case(NamedTuple):
    start: dict[str, np.ndarray]
    gradients: list[dict[str, np.ndarray]]


@pytest.fixture
def case():
    random = np.random.default_rng(7)

    def draw():
        return {name: random.normal(size=shape) for name, shape in SHAPES.items()}

    return Case(draw(), [draw() for _ in RATES])


def named(name, value, dtype="float64"):
    """A variable as a layer makes it: its path begins with the layer's name."""
    variable = keras.Variable(value, None, dtype, name=name.split("/")[1])
    variable._path = name
    return variable


def ours(case, dtype="float64", **flags):
    """The weights after each step with the program's optimizer."""
    variables = {name: named(name, value, dtype) for name, value in case.start.items()}
    optimizer = Optimizer(optimizer_settings(Config(**flags)), variables)
    after = []
    for gradients, rate in zip(case.gradients, RATES, strict=True):
        given = [tf.constant(gradients[name], dtype) for name in variables]
        optimizer.apply(tf.distribute.get_strategy(), given, tf.constant(rate, dtype))
        after.append({name: variable.numpy() for name, variable in variables.items()})
    return after


def by_hand(case, rule):
    """The weights after each step with `rule`: a generator of updates for each variable."""
    weights = {name: value.copy() for name, value in case.start.items()}
    rules = {name: rule(weights[name]) for name in weights}
    after = []
    for number, (gradients, rate) in enumerate(zip(case.gradients, RATES, strict=True), 1):
        for name in weights:
            weights[name] = weights[name] + rules[name](gradients[name], rate, number)
        after.append({name: value.copy() for name, value in weights.items()})
    return after


def same(found, wanted, rtol=1e-6, atol=2e-7):
    """To float32's precision: Keras rounds constants such as 0.95 to it, whatever the weights."""
    for step, (a, b) in enumerate(zip(found, wanted, strict=True), 1):
        for name in b:
            np.testing.assert_allclose(a[name], b[name], rtol, atol, err_msg=f"{name}, {step}")


def sgd(weight):
    return lambda g, lr, t: -lr * g


def momentum(weight, mu=0.7, nesterov=False):
    """Sutskever et al. 2013: the velocity has the learning rate in it."""
    velocity = np.zeros_like(weight)

    def update(g, lr, t):
        velocity[:] = mu * velocity - lr * g
        return mu * velocity - lr * g if nesterov else velocity.copy()

    return update


def nesterov(weight):
    return momentum(weight, nesterov=True)


def adam(weight, b1=0.8, b2=0.95):
    """Kingma and Ba 2015, in the order of the end of their section 2."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)

    def update(g, lr, t):
        m[:] = b1 * m + (1 - b1) * g
        v[:] = b2 * v + (1 - b2) * g * g
        return -lr * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + EPSILON)

    return update


def adadelta(weight, rho=0.9):
    """Zeiler 2012, algorithm 1, times the learning rate."""
    squares, changes = np.zeros_like(weight), np.zeros_like(weight)

    def update(g, lr, t):
        squares[:] = rho * squares + (1 - rho) * g**2
        change = -np.sqrt(changes + EPSILON) / np.sqrt(squares + EPSILON) * g
        changes[:] = rho * changes + (1 - rho) * change**2
        return lr * change

    return update


def adagrad(weight):
    """Duchi et al. 2011, begun at 0.1 as TensorFlow does."""
    squares = np.full_like(weight, 0.1)

    def update(g, lr, t):
        squares[:] += g**2
        return -lr * g / np.sqrt(squares + EPSILON)

    return update


def rmsprop(weight, rho=0.9, mu=0.7):
    """Tieleman and Hinton 2012, with momentum on what is subtracted."""
    squares, velocity = np.zeros_like(weight), np.zeros_like(weight)

    def update(g, lr, t):
        squares[:] = rho * squares + (1 - rho) * g**2
        velocity[:] = mu * velocity + lr * g / np.sqrt(squares + EPSILON)
        return -velocity

    return update


HYPER = {"momentum": 0.7, "beta_1": 0.8, "beta_2": 0.95, "rho": 0.9, "epsilon": EPSILON}
RULES = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adam,
    "adadelta": adadelta,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
}


def test_every_optimizer_is_here():
    assert {*RULES, "muon"} == {*OPTIMIZERS}


@pytest.mark.parametrize("name", RULES)
def test_rule(case, name):
    wanted = by_hand(case, RULES[name])
    same(ours(case, optimizer=name, weight_decay=0.0, **HYPER), wanted)
    # And in float32, as it trains.
    same(
        ours(case, "float32", optimizer=name, weight_decay=0.0, **HYPER),
        wanted,
        rtol=1e-4,
        atol=1e-6,
    )


def newton_schulz(matrix, steps=5):
    """Jordan et al. 2024, "Muon": five steps of the quintic iteration towards U V^T."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon(weight, mu=0.7):
    """With Nesterov's momentum and Moonlight's scale (Liu et al. 2025): RMS as Adam's, 0.2."""
    buffer = np.zeros_like(weight)

    def update(g, lr, t):
        buffer[:] = mu * buffer + g
        return -lr * 0.2 * math.sqrt(max(weight.shape)) * newton_schulz(g + mu * buffer)

    return update


def test_muon(case):
    """Hidden dense kernels by Muon; convolutions, biases and the last layer by Adam."""
    wanted, by_muon = by_hand(case, adam), by_hand(dense_kernel(case), muon)
    for step, weights in enumerate(by_muon):
        wanted[step] |= weights
    same(ours(case, optimizer="muon", **HYPER), wanted)


def dense_kernel(case):
    name = "dense1/kernel"
    return Case({name: case.start[name]}, [{name: g[name]} for g in case.gradients])


def test_muon_has_the_hidden_dense_kernels_of_a_real_network():
    """Adam keeps two slots of a variable and Muon one; another holds the count of steps."""
    network = Network(Architecture((8, 8, 1), 10, (3,), 3, (6, 5), batch_norm=True))
    trainable = {name: network.variables[name] for name in network.trainable}
    shapes = [tuple(v.shape) for v in trainable.values()]
    slots = Optimizer(optimizer_settings(Config(optimizer="muon")), trainable).variables.values()
    extra = [tuple(slot.shape) for slot in slots]
    for shape in [(), *shapes]:
        extra.remove(shape)
    wanted = sorted(shapes)
    for shape in (27, 6), (6, 5):
        wanted.remove(shape)
    assert sorted(extra) == wanted


def test_muon_moves_a_kernel_alike_in_all_directions():
    """The singular values of a step are near one another however far the gradient's are apart."""
    random = np.random.default_rng(0)
    left, _ = np.linalg.qr(random.normal(size=(20, 8)))
    right, _ = np.linalg.qr(random.normal(size=(8, 8)))
    gradient = left @ np.diag([100, 50, 30, 20, 10, 8, 6, 5.0]) @ right
    kernel = named("dense1/kernel", np.zeros((20, 8)))
    optimizer = Optimizer(optimizer_settings(Config(optimizer="muon")), {"dense1/kernel": kernel})
    optimizer.apply(
        tf.distribute.get_strategy(), [tf.constant(gradient)], tf.constant(0.5, "float64")
    )
    moved = left.T @ -kernel.numpy() @ right.T / (0.5 * 0.2 * math.sqrt(20))
    values = np.diag(moved)
    np.testing.assert_allclose(moved, np.diag(values), atol=1e-6)  # the gradient's own directions
    assert 0.6 < values.min() <= values.max() < 1.3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_decoupled_and_leaves_biases(case, name):
    """Each step first shrinks the kernels by lr times the decay; the rule doesn't know of it."""
    without = ours(case, optimizer=name, weight_decay=0.0)
    found = ours(case, optimizer=name, weight_decay=0.5)
    for variable, start in case.start.items():
        weight = before = start
        for step, rate in enumerate(RATES):
            moved = without[step][variable] - before
            before = without[step][variable]
            weight = weight * (1 - 0.5 * rate if start.ndim > 1 else 1.0) + moved
            np.testing.assert_allclose(found[step][variable], weight, 1e-9, 1e-12)


def test_adamw_decays_by_default_and_the_others_do_not(case):
    same(ours(case, optimizer="adamw"), ours(case, optimizer="adam", weight_decay=0.004), 0, 0)
    for name in OPTIMIZERS:
        decay = 0.004 if name == "adamw" else 0.0
        same(ours(case, optimizer=name), ours(case, optimizer=name, weight_decay=decay), 0, 0)


def test_averages_by_hand_and_swapped(case):
    """ema=0.75: an average moves a quarter of the way each step; swapping twice changes nothing."""
    variables = {name: named(name, value) for name, value in case.start.items()}
    optimizer = Optimizer(optimizer_settings(Config(optimizer="sgd", ema=0.75)), variables)
    strategy = tf.distribute.get_strategy()
    averages = {name: value.copy() for name, value in case.start.items()}
    for gradients, rate in zip(case.gradients, RATES, strict=True):
        given = [tf.constant(gradients[name]) for name in variables]
        optimizer.apply(strategy, given, tf.constant(rate, "float64"))
        for name, variable in variables.items():
            averages[name] = 0.75 * averages[name] + 0.25 * variable.numpy()
    weights = {name: variable.numpy() for name, variable in variables.items()}
    optimizer.swap_averages(strategy)
    same([{n: v.numpy() for n, v in variables.items()}], [averages])
    optimizer.swap_averages(strategy)
    same([{n: v.numpy() for n, v in variables.items()}], [weights], 0, 0)
    held = [name for name in optimizer.variables if name.startswith("average")]
    same(
        [{str(i): optimizer.variables[n].numpy() for i, n in enumerate(held)}],
        [{str(i): averages[n] for i, n in enumerate(variables)}],
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_variables_are_all_that_a_resume_needs(case, name):
    """Two steps, then everything copied into a new optimizer: the third step is the same."""
    variables = {n: named(n, value) for n, value in case.start.items()}
    flags = Config(optimizer=name, ema=0.9, weight_decay=0.01, **HYPER)
    first = Optimizer(optimizer_settings(flags), variables)
    strategy = tf.distribute.get_strategy()

    def step(optimizer, variables, number):
        given = [tf.constant(case.gradients[number][n]) for n in variables]
        optimizer.apply(strategy, given, tf.constant(RATES[number], "float64"))

    step(first, variables, 0)
    step(first, variables, 1)
    copies = {n: named(n, v.numpy()) for n, v in variables.items()}
    second = Optimizer(optimizer_settings(flags), copies)
    assert list(second.variables) == list(first.variables)
    for key, value in first.variables.items():
        second.variables[key].assign(value)
    step(first, variables, 2)
    step(second, copies, 2)
    for n in variables:
        np.testing.assert_array_equal(copies[n].numpy(), variables[n].numpy())
    for key, value in first.variables.items():
        np.testing.assert_array_equal(second.variables[key].numpy(), value.numpy())


def test_an_added_optimizer_trains(case, monkeypatch):
    """Lion (Chen et al. 2023), added by one entry, against NumPy."""
    entry = Entry(0.1, {"beta_1": 0.9, "beta_2": 0.99}, lambda keras, flags: keras.Lion(**flags))
    monkeypatch.setitem(OPTIMIZERS, "lion", entry)
    variables = {name: named(name, value) for name, value in case.start.items()}
    optimizer = Optimizer(OptimizerSettings("lion", entry.flags, 0.0, 0.0), variables)
    weights = {name: value.copy() for name, value in case.start.items()}
    momenta = {name: np.zeros_like(value) for name, value in case.start.items()}
    for gradients, rate in zip(case.gradients, RATES, strict=True):
        given = [tf.constant(gradients[name]) for name in variables]
        optimizer.apply(tf.distribute.get_strategy(), given, tf.constant(rate, "float64"))
        for name, gradient in gradients.items():
            weights[name] -= rate * np.sign(0.9 * momenta[name] + 0.1 * gradient)
            momenta[name] = 0.99 * momenta[name] + 0.01 * gradient
            np.testing.assert_allclose(variables[name].numpy(), weights[name], 1e-9)
    assert {f"momentum/{name}" for name in variables} < set(optimizer.variables)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_are_named_by_their_variables_whatever_the_order(case, name):
    """A slot holds its own variable's values, also if Keras creates the slots backwards."""
    flags = Config(optimizer=name, ema=0.9, **HYPER)

    def trained(names):
        variables = {n: named(n, case.start[n]) for n in names}
        optimizer = Optimizer(optimizer_settings(flags), variables)
        given = [tf.constant(case.gradients[0][n]) for n in names]
        optimizer.apply(tf.distribute.get_strategy(), given, tf.constant(0.1, "float64"))
        return {slot: value.numpy() for slot, value in optimizer.variables.items()}

    forwards, backwards = trained(list(case.start)), trained(list(case.start)[::-1])
    assert forwards.keys() == backwards.keys()
    for slot, value in forwards.items():
        np.testing.assert_array_equal(value, backwards[slot])


def test_a_slot_of_no_variable_is_an_error(case, monkeypatch):
    class Odd(keras.optimizers.SGD):
        def build(self, variables):
            super().build(variables)
            self.odd = self.add_variable([], name="odd")

    monkeypatch.setitem(OPTIMIZERS, "odd", Entry(0.1, {}, lambda keras, flags: Odd()))
    variables = {name: named(name, value) for name, value in case.start.items()}
    with pytest.raises(ValueError, match="odd has no name"):
        Optimizer(OptimizerSettings("odd", {}, 0.0, 0.0), variables)
