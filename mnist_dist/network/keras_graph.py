"""Builds a user's Keras model and computes it operation by operation, on several branches at once.

The only place that uses private parts of Keras and of TensorFlow's gradients for that; each is
covered by tests/process/network/test_own.py.
"""

import collections
import contextlib
import functools
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop

from mnist_dist.errors import UsageError
from mnist_dist.network.own_file import OwnArchitecture

Operation = Callable[..., Any]


class Values:
    """A tensor of each branch. No list, because Keras takes lists apart."""

    def __init__(self, tensors: Sequence[tf.Tensor]) -> None:
        self.tensors = list(tensors)


def build(architecture: OwnArchitecture) -> keras.Model:
    """The user's model, with initial weights that depend on the seed alone.

    Raises:
        UsageError: the function fails, or returns no Keras model that fits.
    """
    function = architecture.load()
    with _fresh_keras(architecture.precision, architecture.seed):
        try:
            model = function(architecture.image_shape, architecture.num_classes)
        except Exception as error:
            raise UsageError(
                f"{architecture.flag}: {architecture.failure(error)}; mend the function"
            ) from error
    what = f"{architecture.flag}: {architecture.function} returns {type(model).__name__}"
    if not isinstance(model, keras.Sequential) and not hasattr(model, "_run_through_graph"):
        raise UsageError(f"{what}; return a functional or Sequential keras.Model")
    shapes = model.input_shape, model.output_shape
    wanted = (None, *architecture.image_shape), (None, architecture.num_classes)
    if shapes != wanted:
        raise UsageError(
            f"{what} from {shapes[0]} to {shapes[1]}; return one from {wanted[0]} to {wanted[1]}"
        )
    return model


@contextlib.contextmanager
def _fresh_keras(precision: str, seed: int) -> Iterator[None]:
    """Names, policy and seeds of layers as in a new process, whatever was built before."""
    names = "object_name_uids"
    kept = (
        global_state.get_global_attribute(names),
        keras.config.dtype_policy(),
        keras.config.floatx(),
        random.getstate(),
        np.random.get_state(),
    )
    global_state.set_global_attribute(names, collections.defaultdict(int))
    keras.config.set_dtype_policy(precision)
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        global_state.set_global_attribute(names, kept[0])
        keras.config.set_dtype_policy(kept[1])
        keras.config.set_floatx(kept[2])
        random.setstate(kept[3])
        np.random.set_state(kept[4])


def compute(model: keras.Model, inputs: Values, call: Callable[..., Any]) -> Values:
    """Computes a model operation by operation, those of nested models, too.

    Args:
        model: a functional or Sequential model.
        inputs: its input.
        call: gets an operation and its arguments, with Values for tensors; returns Values, or a
            list of them for several outputs.
    """

    def nested(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.Model):
            return compute(operation, args[0], call)
        return call(operation, *args, **kwargs)

    if isinstance(model, keras.Sequential):
        return functools.reduce(lambda x, layer: nested(layer, x), model.layers, inputs)
    found: Values = model._run_through_graph(inputs, call_fn=nested)  # noqa: SLF001
    return found


def apply(operation: Operation, each: Callable[..., list[Any]], args: Any, kwargs: Any) -> Any:
    """Applies an operation to each branch.

    Args:
        operation: of Keras.
        each: calls a function for each branch, in that branch's scope.
        args: positional arguments, with Values in the place of tensors.
        kwargs: named ones.
    """

    def one(branch: int) -> list[tf.Tensor]:
        def pick(leaf: Any) -> Any:
            return leaf.tensors[branch] if isinstance(leaf, Values) else leaf

        positional, named = keras.tree.map_structure(pick, (args, kwargs))
        flat: list[tf.Tensor] = keras.tree.flatten(operation(*positional, **named))
        return flat

    leaves = keras.tree.flatten((args, kwargs))
    branches = next(len(leaf.tensors) for leaf in leaves if isinstance(leaf, Values))
    outputs = [Values(column) for column in zip(*each(one, range(branches)), strict=True)]
    return outputs[0] if len(outputs) == 1 else outputs


def add_gradients_in_order() -> None:
    """Has gradients of a tensor that is used several times added two by two, in this process.

    TensorFlow adds three or more by AddN, which begins with whichever's memory is free.
    """

    def add(gradients: list[Any]) -> Any:
        if all(isinstance(gradient, tf.Tensor) for gradient in gradients):
            return functools.reduce(operator.add, gradients)
        return backprop._aggregate_grads(gradients)  # noqa: SLF001

    space = backprop._default_vspace._replace(aggregate_fn=add)  # noqa: SLF001
    pywrap_tfe.TFE_Py_RegisterVSpace(space)


def layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of models in it, each once, in order."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        inner = layers(layer) if isinstance(layer, keras.Model) else [layer]
        found |= {id(one): one for one in inner}
    return list(found.values())


def tail(variable: keras.Variable) -> str:
    """A variable's path within its layer, such as kernel, or query/kernel."""
    return str(variable.path).partition("/")[2] or str(variable.name)
