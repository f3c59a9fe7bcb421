"""A trained network that classifies images."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from mnist_dist import assembly
from mnist_dist.errors import UsageError, shorten
from mnist_dist.network import views
from mnist_dist.run.checkpoint import Checkpoints
from mnist_dist.training import state
from mnist_dist.use import handwriting
from mnist_dist.use.brightness import Unreadable
from mnist_dist.use.origin import Origin

if TYPE_CHECKING:
    from PIL import Image

ROWS = 1000
SHOWN = 5  # images in a Prediction's repr


class Prediction(NamedTuple):
    """A network's answers to images.

    Attributes:
        classes: int32 [examples], the most probable class of each.
        probabilities: float32 or float64 [examples, classes].
    """

    classes: np.ndarray
    probabilities: np.ndarray

    def __repr__(self) -> str:
        """The first classes with their probabilities."""
        rows = zip(self.classes[:SHOWN].tolist(), self.probabilities.max(1)[:SHOWN], strict=True)
        shown = ", ".join(f"{name} ({100 * share:.2f} %)" for name, share in rows)
        return f"Prediction({shown}{', ...' if len(self.classes) > SHOWN else ''})"

    def top(self, count: int) -> list[list[tuple[int, float]]]:
        """The most probable classes of each image with their probabilities.

        Args:
            count: how many classes, from 1; all where there are fewer.

        Raises:
            UsageError: a `count` below 1.
        """
        if count < 1:
            raise UsageError(f"top({count}): give how many classes, 1 or more")
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(int(name), float(row[name])) for name in names]
            for names, row in zip(order, self.probabilities, strict=True)
        ]


Images: TypeAlias = "np.ndarray | str | os.PathLike[str] | Image.Image | Sequence[Any]"


def _are_pictures(images: Images) -> bool:
    """Whether images are given as names of files or as pictures of Pillow's, not as arrays.

    Raises:
        UsageError: a list of both.
    """
    items = images if isinstance(images, (list, tuple)) else [images]
    kinds = [isinstance(item, (str, os.PathLike)) or hasattr(item, "getbands") for item in items]
    if any(kinds) and not all(kinds):
        number = kinds.index(False)
        raise UsageError(
            f"images[{number}] is of type {type(items[number]).__name__}, and others are files or "
            "pictures: give a list of files and pictures, or an array"
        )
    return any(kinds)


class Model:
    """A run's network with the weights for which the run reports its scores.

    With --ema these are the averages, with --patience those of the best step.

    Attributes:
        origin: the checkpoint and its run.
        state: the network and all else that training changes.
        step: global steps that it was trained for.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        tta: whether it answers by the mean over several views of an image.
    """

    def __init__(self, origin: Origin, channels_first: bool = False, tta: bool = False) -> None:
        """Rebuilds the network under the current strategy and restores its weights.

        Args:
            origin: the checkpoint and its run.
            channels_first: layout of images inside the network; it changes rounding only.
            tta: answer by the mean over several views of an image (network/views.py).

        Raises:
            UsageError: the checkpoint doesn't fit the network that it names.
        """
        self.origin = origin
        self.step = origin.saved.step
        self.tta = tta
        self.image_shape = origin.network.image_shape
        self.num_classes = origin.network.num_classes
        strategy = tf.distribute.get_strategy()
        network = dataclasses.replace(origin.network, channels_first=channels_first)
        self.state = state.build(strategy, network, assembly.optimizer(origin.config))
        folder, variables = str(origin.saved.path.parent), self.state.variables
        old_names = self.state.old_names
        Checkpoints(folder, variables, keep=1, chief=False, old_names=old_names).restore(
            origin.saved
        )
        self.state.optimizer.swap_averages(strategy)
        images = tf.TensorSpec([None, *self.image_shape], tf.uint8)
        # A partial of its own: TensorFlow counts a function's traces by its code, over all models.
        probabilities = functools.partial(self._probabilities)
        self._graph = tf.function(probabilities, input_signature=[images], autograph=False)

    def __repr__(self) -> str:
        """The checkpoint, the images and the classes."""
        size = "x".join(map(str, self.image_shape))
        averaged = ", averaged over views" if self.tta else ""
        return (
            f"Model({str(self.origin.saved.path)!r}: images {size}, {self.num_classes} classes, "
            f"{self.step} steps{averaged})"
        )

    def predict(self, images: Images) -> Prediction:
        """Classifies images of the data set's kind, or people's pictures.

        Args:
            images: uint8 [examples, height, width, channels]; without the channels where there is
                one, and without the examples for a single image. 0 is paper, 255 is ink. Or
                pictures of one handwritten digit each, of any size, dark on light or light on
                dark: a file's name, a picture of Pillow's, or a list of them, which are prepared
                as by `evaluate --images`.

        Raises:
            UsageError: images of another size or type; a picture that can't be read, is empty or
                shows several digits.
        """
        batch = self._pictures(images) if _are_pictures(images) else self._batch(images)
        blocks = [self._graph(batch[i : i + ROWS]).numpy() for i in range(0, len(batch), ROWS)]
        probabilities = np.concatenate(blocks) if blocks else np.zeros((0, self.num_classes))
        return Prediction(probabilities.argmax(1).astype(np.int32), probabilities)

    def weights(self) -> dict[str, np.ndarray]:
        """The network's variables by their names in the checkpoint, without the "model/"."""
        return {name: value.numpy() for name, value in self.state.network.variables.items()}

    def _pictures(self, images: Any) -> np.ndarray:
        """The network's input for files or pictures of Pillow's, or for one of them."""
        several = isinstance(images, (list, tuple))
        handwriting.check_installed()
        handwriting.check_channels(self.image_shape)
        read = []
        for number, picture in enumerate(images if several else [images]):
            is_file = isinstance(picture, (str, os.PathLike))
            name = shorten(picture, 200) if is_file else f"picture {number}"
            try:
                source = Path(picture) if is_file else picture
                read.append(handwriting.read(source, self.image_shape))
            except Unreadable as error:
                raise UsageError(f"{name}: {error}") from error
        return np.array(read, np.uint8)

    def _batch(self, images: Any) -> np.ndarray:
        try:
            array = np.asarray(images)
        except ValueError as error:  # rows of several lengths
            raise UsageError("images of several shapes: give them one shape") from error
        if array.shape == (0,):  # an empty list
            array = np.zeros((0, *self.image_shape), np.uint8)
        if array.dtype != np.uint8:
            raise UsageError(
                f"images of type {array.dtype}: give uint8 from 0 (paper) to 255 (ink), "
                "as in the data set"
            )
        if self.image_shape[2] == 1 and array.shape[-2:] == self.image_shape[:2]:
            array = array[..., np.newaxis]
        if array.ndim == 3:
            array = array[np.newaxis]
        if array.ndim != 4 or array.shape[1:] != self.image_shape:
            size = ", ".join(map(str, self.image_shape))
            raise UsageError(
                f"images of shape {np.shape(images)}: this network reads [examples, {size}]"
            )
        return array

    def _probabilities(self, images: tf.Tensor) -> tf.Tensor:
        network = self.state.network
        pixels = tf.cast(images, network.dtype) / 255.0
        return tf.nn.softmax(views.logits(network, [pixels], self.tta)[0])
