"""The table of optimizers: what --optimizer allows, each one's defaults, and how Keras builds it.

A new optimizer is one entry. The flags, their help, training and the report read this table.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

FLAGS = {
    "momentum": 0.5,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "rho": 0.95,
    "epsilon": 1e-7,
}
"""The flags that an optimizer may read, and the value of one that it doesn't read."""


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """One optimizer.

    Attributes:
        lr: the default learning rate.
        flags: the flags that it reads -> their defaults for it; weight decay is read by all.
        build: makes Keras's optimizer from the module `keras.optimizers` and the flags' values.
            Learning rate, weight decay, clipping and averages are applied by training/optim.py.
        weight_decay: the default of --weight_decay.

    Raises:
        ValueError: an incomplete entry.
    """

    lr: float
    flags: Mapping[str, float]
    build: Callable[[Any, Mapping[str, float]], Any]
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        unknown = set(self.flags) - set(FLAGS)
        if unknown:
            raise ValueError(f"an optimizer reads {sorted(unknown)}, which FLAGS doesn't have")
        if not (self.lr > 0.0 and callable(self.build)):
            raise ValueError("an optimizer needs a positive learning rate and a builder")


def _muon(optimizers: Any, flags: Mapping[str, float]) -> Any:
    """Muon for hidden dense kernels; Keras updates all other variables by Adam."""

    class Muon(optimizers.Muon):
        """Keras's Muon; Keras's own scale of a step is float32 in any precision."""

        def lr_adjust(self, step: Any) -> Any:
            """A step of RMS 0.2 times the learning rate, as Adam's (Liu et al. 2025)."""
            return step * (self.rms_rate * math.sqrt(max(step.shape)))

    return Muon(
        momentum=flags["momentum"],
        adam_beta_1=flags["beta_1"],
        adam_beta_2=flags["beta_2"],
        epsilon=flags["epsilon"],
        exclude_layers=["logits"],
    )


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}

OPTIMIZERS: dict[str, Optimizer] = {
    "momentum": Optimizer(
        0.01, {"momentum": 0.5}, lambda optimizers, flags: optimizers.SGD(**flags)
    ),
    "sgd": Optimizer(0.01, {}, lambda optimizers, flags: optimizers.SGD(**flags)),
    "nesterov": Optimizer(
        0.01, {"momentum": 0.5}, lambda optimizers, flags: optimizers.SGD(nesterov=True, **flags)
    ),
    "adam": Optimizer(0.001, _ADAM, lambda optimizers, flags: optimizers.Adam(**flags)),
    "adamw": Optimizer(
        0.001, _ADAM, lambda optimizers, flags: optimizers.Adam(**flags), weight_decay=0.004
    ),
    "adadelta": Optimizer(
        1.0,
        {"rho": 0.95, "epsilon": 1e-7},
        lambda optimizers, flags: optimizers.Adadelta(**flags),
    ),
    "adagrad": Optimizer(
        0.01, {"epsilon": 1e-7}, lambda optimizers, flags: optimizers.Adagrad(**flags)
    ),
    "rmsprop": Optimizer(
        0.001,
        {"momentum": 0.0, "rho": 0.95, "epsilon": 1e-7},
        lambda optimizers, flags: optimizers.RMSprop(**flags),
    ),
    "muon": Optimizer(0.01, {"momentum": 0.95, **_ADAM}, _muon),
}
"""Name -> optimizer; the first is the notebook's and the default."""


def default(optimizer: str, flag: str) -> float:
    """The default of a flag in FLAGS, of lr or of weight_decay with an optimizer.

    An unknown optimizer has the defaults of the first: Config refuses its name afterwards.
    """
    entry = OPTIMIZERS.get(optimizer, next(iter(OPTIMIZERS.values())))
    if flag == "lr":
        return entry.lr
    if flag == "weight_decay":
        return entry.weight_decay
    return entry.flags.get(flag, FLAGS[flag])


def readers(flag: str) -> tuple[str, ...]:
    """The names of the optimizers that read a flag in FLAGS."""
    return tuple(name for name, entry in OPTIMIZERS.items() if flag in entry.flags)


def shown_defaults(flag: str) -> str:
    """The defaults of a flag for a line of help: "0.5, rmsprop 0, muon 0.95"."""
    usual = default(next(iter(OPTIMIZERS)), flag)
    names = OPTIMIZERS if flag in ("lr", "weight_decay") else readers(flag)
    others = [f"{name} {default(name, flag):g}" for name in names if default(name, flag) != usual]
    return ", ".join([f"{usual:g}", *others])
