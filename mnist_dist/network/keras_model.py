"""The built-in network in Keras's own layers, so that an export doesn't need this package.

The forward pass is that of training (`forward.forward`); the layers differ, since those of training
compute several branches at once, draw dropout by the example's position and sum batch statistics
over replicas.
"""

import keras
import numpy as np

from mnist_dist.network.architecture import Architecture
from mnist_dist.network.forward import forward
from mnist_dist.network.layers import BatchNorm


def keras_model(architecture: Architecture, weights: dict[str, np.ndarray]) -> keras.Model:
    """A functional model from images to logits.

    Its layers are channels_last, whatever layout the run used, and have the run's precision.

    Args:
        architecture: the network's shape.
        weights: name -> array, the names of a checkpoint without "model/".

    Returns:
        A model from float32 (float64 in float64) [examples, height, width, channels] in 0..1 to
        logits [examples, classes].

    Raises:
        ValueError: a weight that no layer takes.
    """
    layers = _KerasLayers(architecture)
    images = keras.Input(architecture.image_shape, dtype=layers.full, name="pixels")
    model = keras.Model(images, forward(architecture, layers, images), name="mnist_dist")
    _set_weights(model, weights)
    return model


class _KerasLayers:
    """Adds each layer to Keras's graph; see `forward.Layers`.

    Attributes:
        full: the dtype of images and logits.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.full = "float64" if architecture.precision == "float64" else "float32"
        self._precision, self._dropout = architecture.precision, architecture.dropout
        self._padding = "same" if architecture.residual else "valid"
        self._stages = {stage.name: stage for stage in architecture.stages}

    def convolve(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        """A convolution with its bias."""
        size, _, _, filters = self._stages[name].kernel
        convolution = keras.layers.Conv2D(
            filters, size, padding=self._padding, dtype=self._precision, name=name
        )
        return convolution(x)

    def normalise(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        """The batch normalisation after a layer; `x` itself if it has none."""
        if not self._stages[name].normed:
            return x
        return batch_normalization(f"{name}_norm", self._precision)(x)

    def relu(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """ReLU."""
        return keras.layers.ReLU(dtype=self._precision)(x)

    def add(
        self, name: str, x: keras.KerasTensor, shortcut: keras.KerasTensor
    ) -> keras.KerasTensor:
        """The sum that ends a residual block."""
        return keras.layers.Add(dtype=self._precision, name=f"{name}_add")([x, shortcut])

    def pool_relu(self, number: int, x: keras.KerasTensor) -> keras.KerasTensor:
        """ReLU and a 2x2 max-pool; the convolution has added the bias."""
        pool = keras.layers.MaxPooling2D(
            2, padding="same", dtype=self._precision, name=f"pool{number}"
        )
        return pool(self.relu(x))

    def flatten(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """A row for each image."""
        return keras.layers.Flatten(dtype=self._precision, name="flat")(x)

    def dense(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        """A dense layer; the logits are in full precision."""
        dtype = self.full if name == "logits" else self._precision
        return keras.layers.Dense(self._stages[name].kernel[1], dtype=dtype, name=name)(x)

    def dropout(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Dropout, which does nothing unless the export is trained further."""
        return keras.layers.Dropout(self._dropout, dtype=self._precision, name="dropout")(x)


def batch_normalization(name: str, dtype: str) -> keras.layers.BatchNormalization:
    """Keras's layer with the constants of BatchNorm."""
    return keras.layers.BatchNormalization(
        momentum=BatchNorm.momentum, epsilon=BatchNorm.epsilon, dtype=dtype, name=name
    )


def _set_weights(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    unused = set(weights)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            suffixes = ["scale", "offset", "moving_mean", "moving_variance"]
        else:
            suffixes = ["kernel", "bias"] if layer.weights else []
        names = [f"{layer.name.removesuffix('_norm')}/{suffix}" for suffix in suffixes]
        layer.set_weights([weights[name] for name in names])
        unused -= set(names)
    if unused:
        raise ValueError(f"{sorted(unused)} are in the checkpoint but not in the Keras model")
