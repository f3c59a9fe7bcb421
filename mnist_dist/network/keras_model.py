"""The network in Keras's own layers, so that an export doesn't need this package."""

import keras
import numpy as np

from mnist_dist.network.architecture import Architecture
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
    layers, precision = keras.layers, architecture.precision
    full = "float64" if precision == "float64" else "float32"
    padding = "same" if architecture.residual else "valid"

    def normalise(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        if f"{name}/scale" not in weights:
            return x
        return batch_normalization(f"{name}_norm", precision)(x)

    def convolve(name: str, filters: int, size: int, x: keras.KerasTensor) -> keras.KerasTensor:
        convolution = layers.Conv2D(filters, size, padding=padding, dtype=precision, name=name)
        return normalise(name, convolution(x))

    def relu(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU(dtype=precision)(x)

    def block(name: str, filters: int, x: keras.KerasTensor) -> keras.KerasTensor:
        """A convolution; with `residual` a block of two, with a shortcut."""
        size = architecture.kernel_size
        y = convolve(name, filters, size, x)
        if not architecture.residual:
            return relu(y)
        y = convolve(f"{name}b", filters, size, relu(y))
        if f"{name}s/kernel" in weights:
            x = layers.Conv2D(filters, 1, dtype=precision, name=f"{name}s")(x)
        return relu(layers.Add(dtype=precision, name=f"{name}_add")([y, x]))

    images = keras.Input(architecture.image_shape, dtype=full, name="pixels")
    x = images
    for number, filters in enumerate(architecture.conv_filters, 1):
        x = block(f"conv{number}", filters, x)
        x = layers.MaxPooling2D(2, padding="same", dtype=precision, name=f"pool{number}")(x)
    x = layers.Flatten(dtype=precision, name="flat")(x)
    for number, units in enumerate(architecture.dense_units, 1):
        name = f"dense{number}"
        x = relu(normalise(name, layers.Dense(units, dtype=precision, name=name)(x)))
    x = layers.Dropout(architecture.dropout, dtype=precision, name="dropout")(x)
    logits = layers.Dense(architecture.num_classes, dtype=full, name="logits")(x)
    model = keras.Model(images, logits, name="mnist_dist")
    _set_weights(model, weights)
    return model


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
