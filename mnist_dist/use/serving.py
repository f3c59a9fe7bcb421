"""The forms in which a network leaves this package: SavedModel, Keras file and TFLite files."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mnist_dist.data.split import Split
from mnist_dist.use.model import Model

KERAS_FILE = "model.keras"
TFLITE_FILES = {"float32": "model.tflite", "int8 weights": "model-int8.tflite"}
"""What the weights are stored as -> the file's name."""

ROWS = 100


class Served(tf.Module):
    """A network behind the signature of an export: from uint8 images to class and probabilities."""

    def __init__(self, logits: keras.Model) -> None:
        """Args:
        logits: a model from pixels in 0..1 to logits.
        """
        super().__init__()
        self._logits = logits
        # TensorFlow 1's loader, and so Serving, restores only variables that are tracked here.
        self.weights = [weight.value for weight in logits.weights]
        self._shape = [None, *logits.input_shape[1:]]
        self.images = tf.TensorSpec(self._shape, tf.uint8, name="images")
        self.serve = tf.function(self._serve, input_signature=[self.images], autograph=False)

    def _serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.ensure_shape(images, self._shape)  # a loaded signature doesn't check it
        # oneDNN's fused convolutions fail on an empty batch, so that gets a row and loses it again.
        count = tf.shape(images)[0]
        rows = tf.maximum(count, 1)
        values = tf.cast(images, self._logits.input.dtype)
        blank = tf.zeros([rows - count, *self._shape[1:]], values.dtype)
        answers = self.classify(tf.concat([values, blank], 0))
        return {name: answer[:count] for name, answer in answers.items()}

    def classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classes and probabilities of images in 0..255, of which there is at least one."""
        pixels = tf.cast(images, self._logits.input.dtype) / 255.0
        probabilities = tf.nn.softmax(self._logits(pixels, training=False))
        return {"class": tf.argmax(probabilities, 1), "probabilities": probabilities}


def save(model: Model, folder: Path) -> None:
    """Writes a SavedModel, and a Keras file beside it.

    Raises:
        OSError, tf.errors.OpError: they can't be written.
    """
    logits = model.state.network.keras_model(model.weights())
    served = Served(logits)
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})
    keras_classifier(logits).save(folder / KERAS_FILE)


def keras_classifier(logits: keras.Model) -> keras.Model:
    """A model from images, 0..255, to probabilities.

    Keras casts inputs silently: an input of uint8 would make blank images of pixels in 0..1. So
    the input is of floats, and an image with a pixel that isn't a whole number answers nan.

    Args:
        logits: a model from pixels in 0..1 to logits.
    """
    ops, dtype = keras.ops, logits.input.dtype
    images = keras.Input(logits.input_shape[1:], dtype=dtype, name="images")
    whole = ops.all(ops.equal(images, ops.floor(images)), axis=(1, 2, 3))
    one_or_nan = ops.sqrt(2.0 * ops.cast(whole, dtype) - 1.0)
    # A division, as in training; Rescaling would multiply by the rounded 1/255.
    pixels = keras.layers.Normalization(None, mean=0.0, variance=255.0**2, dtype=dtype)(images)
    probabilities = keras.layers.Softmax(dtype=dtype, name="probabilities")(logits(pixels))
    answers = ops.multiply(probabilities, ops.expand_dims(one_or_nan, 1))
    return keras.Model(images, answers, name="mnist_dist")


def save_tflite(model: Model, folder: Path) -> None:
    """Writes TFLITE_FILES: the network in float32, and with its kernels quantised to int8.

    Raises:
        OSError: they can't be written.
    """
    served = Served(model.state.network.keras_model(model.weights(), "float32"))
    # Without the care for empty batches, whose dynamic shapes TFLite's delegates don't take.
    classify = tf.function(served.classify, input_signature=[served.images], autograph=False)
    signature = classify.get_concrete_function()
    for name, file in TFLITE_FILES.items():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], served)
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        (folder / file).write_bytes(converter.convert())


def tflite_accuracy(path: Path, split: Split) -> float:
    """The share of a split's images that a TFLite file classifies rightly, 0..1."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    images = [split.images[i : i + ROWS] for i in range(0, len(split.labels), ROWS)]
    classes = np.concatenate([run(images=batch)["class"] for batch in images])
    return float((classes == split.labels).mean())
