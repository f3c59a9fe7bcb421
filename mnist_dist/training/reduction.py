"""The sums over the replicas: of gradients, losses, batch statistics and evaluations.

A dense kernel's gradient is summed as a product or sent as its two factors, see reduce_plan.py. The
factors are sent together with the other gradients, in one of two ways. Either each replica gathers
what the others send and adds it up by itself. Or all of it goes into one all-reduce: each replica
puts its rows into a tensor that has room for the rows of all, and fills the other rows with -0.0.
Adding -0.0 changes no bit of a number, not even the sign of a zero.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from mnist_dist.training.gathering import gathered, packed, unpacked
from mnist_dist.training.loss_scale import LossScale


class Factors(NamedTuple):
    """A dense kernel's gradient as the factors of a product.

    Attributes:
        inputs: the layer's inputs, in its compute dtype: [rows, inputs].
        outputs: the gradient of the layer's outputs: [rows, units], the same dtype.
    """

    inputs: tf.Tensor
    outputs: tf.Tensor

    def product(self, dtype: tf.DType) -> tf.Tensor:
        """The gradient, dtype [inputs, units]; computed as TensorFlow's own gradient is."""
        return tf.cast(tf.matmul(self.inputs, self.outputs, transpose_a=True), dtype)

    def like(self, values: Sequence[tf.Tensor]) -> "Factors":
        """Returns inputs and outputs of more rows, cast to the dtype of these."""
        return Factors(
            *(tf.cast(value, own.dtype) for value, own in zip(values, self, strict=True))
        )


Gradient: TypeAlias = tf.Tensor | Factors
Tensors: TypeAlias = Sequence[tf.Tensor]


class Differentiated(NamedTuple):
    """By what the loss of a branch is differentiated.

    Attributes:
        weights: variables, or the tensors that stand for them.
        dense: of the kernels that are sent as factors, name -> the layer's inputs, in its compute
            dtype, and its outputs.
    """

    weights: Sequence[Any]
    dense: Mapping[str, Sequence[tf.Tensor]]


def all_reduce(values: Any) -> Any:
    """The sums over all replicas of a tensor or a list of tensors, on each of them."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def differentiate(
    tape: tf.GradientTape, loss: Any, names: Sequence[str], branches: Sequence[Differentiated]
) -> list[list[Gradient]]:
    """The gradients of each branch's weights, as products or as factors.

    Args:
        tape: has recorded the branches.
        loss: what is differentiated.
        names: of the weights, in order.
        branches: by what it is differentiated.
    """
    by = [
        [dense[n][1] if n in dense else weight for n, weight in zip(names, weights, strict=True)]
        for weights, dense in branches
    ]
    found = tape.gradient(loss, by)
    return [
        [
            Factors(branch.dense[name][0], gradient) if name in branch.dense else gradient
            for name, gradient in zip(names, own, strict=True)
        ]
        for own, branch in zip(found, branches, strict=True)
    ]


def accumulated(total: Gradient, added: Gradient) -> Gradient:
    """The gradient of two micro-batches: a sum, or the rows of both."""
    if isinstance(total, Factors):
        return Factors(*(tf.concat(pair, 0) for pair in zip(total, added, strict=True)))
    return total + added


def summed(
    own: Sequence[Gradient], sums: tf.Tensor, wire_dtype: tf.DType, gather: bool = False
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The sums of gradients and of `sums` over the replicas, in as few collectives as can be.

    Args:
        own: this replica's gradients, in the dtype of `sums` but for factors.
        sums: numbers that are always sent in full precision.
        wire_dtype: of the gradients on the network.
        gather: gather what all replicas send, in the dtype of `sums`.

    Returns:
        The gradients and `sums`, in the dtype of `sums`; each replica has the same.
    """
    if gather:
        return _summed_by_each(own, sums)
    sent: list[tf.Tensor] = []
    for gradient in own:
        if isinstance(gradient, Factors):
            sent += [placed(tf.cast(factor, wire_dtype)) for factor in gradient]
        else:
            sent.append(tf.cast(gradient, wire_dtype))
    if wire_dtype == sums.dtype:
        *received, sums = all_reduce([*sent, sums])
    else:
        received, sums = all_reduce(sent), all_reduce(sums)
    left = iter(received)
    whole = []
    for gradient in own:
        if isinstance(gradient, Factors):
            rows = [tf.reshape(next(left), [-1, factor.shape[-1]]) for factor in gradient]
            product = gradient.like(rows).product(sums.dtype)
            whole.append(product)
        else:
            whole.append(tf.cast(next(left), sums.dtype))
    return whole, sums


def _summed_by_each(own: Sequence[Gradient], sums: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
    """As `summed`: each replica gathers all others' gradients and adds them in their order."""

    def over_replicas(values: Tensors, parts: Tensors) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        return unpacked(gathered(packed([*values, *parts])), values, parts, _in_order)

    return sums_and_products(own, sums, over_replicas, Factors.product)


def sums_and_products(
    own: Sequence[Gradient],
    sums: tf.Tensor,
    over_replicas: Callable[[Tensors, Tensors], tuple[list[tf.Tensor], list[tf.Tensor]]],
    product: Callable[[Factors, tf.DType], tf.Tensor],
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The sums of gradients and of `sums`, from the factors' rows of all replicas.

    Args:
        own: this replica's gradients.
        sums: further numbers that are summed.
        over_replicas: from tensors to sum and tensors to join, the sums over all replicas and the
            rows of all replicas.
        product: of the factors of all replicas, in a dtype.
    """
    full = [gradient for gradient in own if not isinstance(gradient, Factors)]
    factors = [gradient for gradient in own if isinstance(gradient, Factors)]
    parts = [tf.cast(part, sums.dtype) for pair in factors for part in pair]
    (*totals, sums), rows = over_replicas([*full, sums], parts)
    pairs = zip(factors, rows[::2], rows[1::2], strict=True)
    products = iter([product(own.like(pair), sums.dtype) for own, *pair in pairs])
    rest = iter(totals)
    return [next(products if isinstance(g, Factors) else rest) for g in own], sums


def _in_order(rows: Sequence[tf.Tensor]) -> tf.Tensor:
    return functools.reduce(tf.add, rows)


def placed(own: tf.Tensor) -> tf.Tensor:
    """[replicas, *shape]: `own` in this replica's place and -0.0 in all others."""
    context = tf.distribute.get_replica_context()
    replicas, replica = context.num_replicas_in_sync, context.replica_id_in_sync_group
    around = [[replica, replicas - 1 - replica], *([0, 0] for _ in own.shape)]
    zero = tf.constant(-0.0, own.dtype)
    wide = tf.pad(own[tf.newaxis], around, constant_values=zero)
    return tf.ensure_shape(wide, [replicas, *own.shape])


def not_finite(gradients: Sequence[Gradient], loss_scale: LossScale) -> tf.Tensor:
    """[replicas]: 1 in this replica's place if one of its own gradients isn't finite, else zeros.

    Always zeros with a loss scale, which handles such gradients itself.
    """
    context = tf.distribute.get_replica_context()
    full = [gradient for gradient in gradients if not isinstance(gradient, Factors)]
    replicas, dtype = context.num_replicas_in_sync, full[0].dtype
    if loss_scale.variables:
        return tf.zeros([replicas], dtype)
    bounds = [_bound(g, dtype) for g in gradients if isinstance(g, Factors)]
    total = tf.reduce_sum(tf.stack([*(tf.reduce_sum(g) for g in full), *bounds]))
    own = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=dtype)
    return tf.where(tf.math.is_finite(total), tf.zeros_like(own), own)


def _bound(factors: Factors, dtype: tf.DType) -> tf.Tensor:
    """At least the sum of the product's absolute values, without the product."""
    sizes = [tf.reduce_sum(tf.abs(tf.cast(part, dtype)), -1) for part in factors]
    return tf.reduce_sum(sizes[0] * sizes[1])
