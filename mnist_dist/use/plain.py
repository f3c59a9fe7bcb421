"""The network in layers of Keras alone, so that its files don't need this package."""

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.network.architecture import Architecture
from mnist_dist.network.layers import BatchNorm


def keras_model(what: Architecture, weights: dict[str, np.ndarray]) -> keras.Model:
    """A functional model: uint8 images [examples, height, width, channels] to probabilities.

    Its layers are channels_last whatever the run's were, and of the run's precision.

    Args:
        what: the network.
        weights: name -> array, as in a checkpoint without the "model/".
    """
    layers = keras.layers
    full = "float64" if what.precision == "float64" else "float32"

    def normalise(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        if f"{name}/scale" not in weights:
            return x
        return layers.BatchNormalization(
            momentum=BatchNorm.momentum,
            epsilon=BatchNorm.epsilon,
            dtype=what.precision,
            name=f"{name}_norm",
        )(x)

    def convolve(name: str, filters: int, size: int, x: keras.KerasTensor) -> keras.KerasTensor:
        padding = "same" if what.residual else "valid"
        made = layers.Conv2D(filters, size, padding=padding, dtype=what.precision, name=name)
        return normalise(name, made(x))

    def relu(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU(dtype=what.precision)(x)

    def block(name: str, filters: int, x: keras.KerasTensor) -> keras.KerasTensor:
        """A convolution, or a residual block, with its shortcut where the channels change."""
        y = convolve(name, filters, what.kernel_size, x)
        if not what.residual:
            return relu(y)
        y = convolve(f"{name}b", filters, what.kernel_size, relu(y))
        if f"{name}s/kernel" in weights:
            x = layers.Conv2D(filters, 1, dtype=what.precision, name=f"{name}s")(x)
        return relu(layers.Add(dtype=what.precision, name=f"{name}_add")([y, x]))

    images = keras.Input(what.image_shape, dtype="uint8", name="images")
    # A division, as in training; Rescaling would multiply, by a factor that is float32 always.
    x = layers.Normalization(None, mean=0.0, variance=255.0**2, dtype=full, name="pixels")(images)
    for number, filters in enumerate(what.conv_filters, 1):
        x = block(f"conv{number}", filters, x)
        x = layers.MaxPooling2D(2, padding="same", dtype=what.precision, name=f"pool{number}")(x)
    x = layers.Flatten(dtype=what.precision, name="flat")(x)
    for number, units in enumerate(what.dense_units, 1):
        name = f"dense{number}"
        x = relu(normalise(name, layers.Dense(units, dtype=what.precision, name=name)(x)))
    x = layers.Dropout(what.dropout, dtype=what.precision, name="dropout")(x)
    x = layers.Dense(what.num_classes, dtype=full, name="logits")(x)
    probabilities = layers.Softmax(dtype=full, name="probabilities")(x)
    model = keras.Model(images, probabilities, name="mnist_dist")
    _set(model, weights)
    return model


def _set(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Gives each layer its weights, and sees that all are used."""
    left = set(weights)
    for layer in model.layers:
        parts = ("scale", "offset", "moving_mean", "moving_variance")
        names = [f"{layer.name.removesuffix('_norm')}/{part}" for part in parts]
        if not isinstance(layer, keras.layers.BatchNormalization):
            names = [f"{layer.name}/kernel", f"{layer.name}/bias"] if layer.weights else []
        layer.set_weights([weights[name] for name in names])
        left -= set(names)
    if left:
        raise ValueError(f"{sorted(left)} are in the checkpoint and not in the Keras model")


class Served(tf.Module):
    """A Keras model behind a signature: uint8 images to class and probabilities."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model
        images = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")
        self.serve = tf.function(self._serve, input_signature=[images], autograph=False)

    def _serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self.model(images, training=False)
        return {"class": tf.argmax(probabilities, 1), "probabilities": probabilities}
