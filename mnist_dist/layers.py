"""Layers for your own network (docs/own_network.md): the same numbers on any number of replicas.

They stand in for Keras's layers of the same names. The trainer computes them itself, so they have
no code of their own here and work in functional and Sequential models only, not inside a layer.
"""

from typing import Any

import keras


class _Layer(keras.layers.Layer):
    """A layer that the trainer computes."""

    def call(self, inputs: Any) -> Any:  # noqa: ARG002
        raise ValueError(
            f"{self.name} of mnist_dist.layers is inside another layer, where it can't be "
            "computed; use it in the functional model itself"
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape


class Dropout(_Layer):
    """Sets a share of the values to zero in training; a row's mask doesn't depend on its replica.

    Args:
        rate: the share, 0 to less than 1.
        **options: those of any Keras layer, such as `name`.

    Raises:
        ValueError: a rate out of range.
    """

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(**options)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"Dropout({rate}): give a rate from 0 to less than 1")
        self.rate = rate


class BatchNormalization(_Layer):
    """Batch normalisation over the last axis, by the images of all replicas together."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Notes the number of channels."""
        self.channels = int(input_shape[-1] or 0)
