"""The forward pass of the built-in network: one definition, for training and for exports."""

from typing import Protocol, TypeVar

from mnist_dist.network.architecture import Architecture

X = TypeVar("X")


class Layers(Protocol[X]):
    """Computes one layer at a time; `name` is a layer's name in `Architecture.stages`.

    X is what layers take and return: in training a list with a tensor for each branch
    (`branch_layers`), in exports a symbolic tensor of Keras (`keras_model`).
    """

    def convolve(self, name: str, x: X) -> X:
        """A convolution, with its bias or without it (see `pool_relu`)."""

    def normalise(self, name: str, x: X) -> X:
        """The batch normalisation after a layer; `x` itself if it has none."""

    def relu(self, x: X) -> X:
        """ReLU."""

    def add(self, name: str, x: X, shortcut: X) -> X:
        """The sum that ends a residual block."""

    def pool_relu(self, number: int, x: X) -> X:
        """ReLU and a 2x2 max-pool, in any order, after the convolution of that number, from 1."""

    def flatten(self, x: X) -> X:
        """A row for each image, in the order height, width, channels."""

    def dense(self, name: str, x: X) -> X:
        """A dense layer with its bias."""

    def dropout(self, x: X) -> X:
        """Dropout in training; else `x` itself."""


def forward(architecture: Architecture, layers: Layers[X], images: X) -> X:
    """Computes logits.

    Args:
        architecture: the network's shape.
        layers: computes each layer.
        images: in the layout that `layers` takes.
    """
    names = {stage.name for stage in architecture.stages}
    x = images
    for number in range(1, len(architecture.conv_filters) + 1):
        name = f"conv{number}"
        y = layers.normalise(name, layers.convolve(name, x))
        if architecture.residual:
            y = layers.convolve(f"{name}b", layers.relu(y))
            y = layers.normalise(f"{name}b", y)
            shortcut = layers.convolve(f"{name}s", x) if f"{name}s" in names else x
            y = layers.add(name, y, shortcut)
        x = layers.pool_relu(number, y)
    x = layers.flatten(x)
    for number in range(1, len(architecture.dense_units) + 1):
        name = f"dense{number}"
        x = layers.relu(layers.normalise(name, layers.dense(name, x)))
    return layers.dense("logits", layers.dropout(x))
