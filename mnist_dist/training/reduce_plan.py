"""What each replica sends so that the gradients of a step are summed. No TensorFlow.

The gradient of a dense kernel is the product X^T G of the layer's inputs X, [rows, inputs], and the
gradient G of its outputs, [rows, units]. Each replica can send its rows of both factors, and every
replica then forms the product of all rows by itself: the same sum over the rows. With fewer rows
than inputs x units / (inputs + units) the factors are smaller than the product. (Xie et al. 2014,
"Distributed machine learning via sufficient factor broadcasting".)
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mnist_dist.errors import UsageError
from mnist_dist.network.architecture import Stage


class DenseKernel(NamedTuple):
    """A dense layer's kernel.

    Attributes:
        name: of the variable, such as dense1/kernel.
        inputs: of the layer.
        units: of the layer.
    """

    name: str
    inputs: int
    units: int

    def saved(self, rows: int) -> int:
        """Returns how many numbers fewer the factors of `rows` rows have than the product."""
        return self.inputs * self.units - rows * (self.inputs + self.units)


class Gradients(NamedTuple):
    """The gradients of a network.

    Attributes:
        numbers: in all gradients.
        dense: the kernels whose factors can be sent.
        norms: the number of batch normalisations.
    """

    numbers: int
    dense: tuple[DenseKernel, ...] = ()
    norms: int = 0

    def plan(self, rows: int, number_bytes: int, factors: bool) -> "ReducePlan":
        """Decides what is sent, for each kernel by its bytes.

        Args:
            rows: of a global step, over all replicas, padding included.
            number_bytes: bytes of a number on the network.
            factors: whether factors are sent where they are smaller than the product.
        """
        factored = tuple(kernel for kernel in self.dense if factors and kernel.saved(rows) > 0)
        saved = sum(kernel.saved(rows) for kernel in factored)
        size, whole = (number_bytes * n for n in (self.numbers - saved, self.numbers))
        factor_bytes = number_bytes * rows * sum(k.inputs + k.units for k in factored)
        return ReducePlan(factored, rows, size, whole, factor_bytes)


class ReducePlan(NamedTuple):
    """What is sent in a step.

    Attributes:
        factored: the dense kernels whose gradients are sent as factors.
        rows: of the factors, over all replicas, padding included; 0 if nothing is sent.
        bytes: each replica's share of the sum, in bytes: gradients, and rows of all replicas.
        product_bytes: the same, if no factors were sent.
        factor_bytes: of the factors among `bytes`.
        gather: whether each replica gathers the shares of all; else all is an all-reduce.
    """

    factored: tuple[DenseKernel, ...] = ()
    rows: int = 0
    bytes: int = 0
    product_bytes: int = 0
    factor_bytes: int = 0
    gather: bool = False

    def share(self, replicas: int) -> float:
        """Returns the bytes of one replica's gradients, with its own rows of the factors alone."""
        return self.bytes - self.factor_bytes + self.factor_bytes / replicas

    def fewer_gathered(self, replicas: int) -> bool:
        """Returns whether the replicas send fewer bytes if each gathers the shares of all.

        Of n replicas each sends n - 1 shares then, in n - 1 messages one after another; in a ring
        all-reduce 2 (n - 1) / n of the sum, in 2 (n - 1) messages.
        """
        return replicas * self.share(replicas) < 2 * self.bytes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the kernels that are sent as factors."""
        return tuple(kernel.name for kernel in self.factored)

    @property
    def line(self) -> str:
        """What is sent, for the log."""
        if not self.factored:
            return f"Gradients: {_mb(self.bytes)} MB are summed over the replicas in each step."
        kernels = ", ".join(
            f"{name} as factors of {self.rows} x ({inputs} + {units})"
            for name, inputs, units in self.factored
        )
        return (
            f"Gradients: {_mb(self.bytes)} MB are summed over the replicas in each step, {kernels}"
            f"; as products {_mb(self.product_bytes)} MB."
        )

    def check(self) -> None:
        """Raises UsageError if all is sent as products, against --reduce=factors."""
        if self.rows and not self.factored:
            raise UsageError(
                f"--reduce=factors: no dense kernel's factors, {self.rows} rows x (inputs + units) "
                "in a step, are smaller than its gradient, inputs x units; give a smaller "
                "--batch_size, or leave --reduce out"
            )


class Sending(NamedTuple):
    """How the gradients of a run are sent, on any number of replicas.

    Attributes:
        gradients: of the network.
        number_bytes: bytes of a number on the network.
        factors: whether factors are sent where they are smaller than the product.
        bytes_per_pack: bytes sent together; 0 for all.
        small: all-reduces of a step besides the gradients': of batch statistics, and of the loss
            where gradients are sent in another dtype.
        may_gather: whether the replicas gather where that is fewer bytes, or always all-reduce.
    """

    gradients: Gradients
    number_bytes: int = 4
    factors: bool = False
    bytes_per_pack: int = 0
    small: int = 0
    may_gather: bool = False

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "Sending":
        """Makes it of what JSON makes of one."""
        (numbers, dense, norms), *rest = values
        kernels = tuple(DenseKernel(*kernel) for kernel in dense)
        return cls(Gradients(numbers, kernels, norms), *rest)

    def plan(self, rows: int, replicas: int = 1) -> ReducePlan:
        """Returns what is sent in a step.

        Args:
            rows: of a global step, over all replicas, padding included.
            replicas: over all workers.
        """
        plan = self.gradients.plan(rows, self.number_bytes, self.factors)
        gather = self.may_gather and replicas > 1 and plan.fewer_gathered(replicas)
        return plan._replace(gather=gather)

    def reductions(self, rows: int) -> int:
        """Returns the number of collectives in a step: all-reduces, or one gathering of all."""
        size = self.plan(rows).bytes
        packs = math.ceil(size / self.bytes_per_pack) if self.bytes_per_pack else 1
        return packs + self.small


def of_stages(stages: Iterable[Stage]) -> Gradients:
    """The gradients of the built-in network; a moving mean and variance have none."""
    numbers, norms, dense = 0, 0, []
    for stage in stages:
        norms += stage.normed
        numbers += stage.parameters - (2 * stage.shape[-1] if stage.normed else 0)
        if len(stage.kernel) == 2:
            dense.append(DenseKernel(f"{stage.name}/kernel", *stage.kernel))
    return Gradients(numbers, tuple(dense), norms)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"
