"""Answers for the page: a drawing or a photo in, probabilities and the network's input out."""

import base64
import io
import threading
from typing import Any

import numpy as np

from mnist_dist.use import handwriting, pieces
from mnist_dist.use.classify import UNSURE
from mnist_dist.use.model import Model
from mnist_dist.use.origin import Origin

INK = 64
"""The least darkness, of 255, of a drawing's ink; fainter pixels are a stroke's soft rim."""


class Classifier:
    """A trained network behind a lock, since requests come from several threads."""

    def __init__(self, made: Origin) -> None:
        """Loads the network and computes one image, so that the first answer is quick too.

        Raises:
            UsageError: the checkpoint doesn't fit.
        """
        self._model = Model(made)
        self._lock = threading.Lock()
        self._model.predict(np.zeros((1, *self._model.image_shape), np.uint8))

    def drawing(self, ink: bytes) -> dict[str, Any]:
        """Classifies a square drawing.

        Args:
            ink: uint8 [side * side], row by row; 0 is paper, 255 is ink.

        Returns:
            What `_answer` does.

        Raises:
            ValueError: not a square, or nothing is drawn.
        """
        side = round(len(ink) ** 0.5)
        if side < 1 or side * side != len(ink):
            raise ValueError("The drawing is not square.")
        strokes = np.frombuffer(ink, np.uint8).reshape(side, side).astype(float)
        if strokes.max() < INK:
            raise ValueError("Nothing is drawn yet.")
        height, width, _ = self._model.image_shape
        image = handwriting.normalised(strokes, height, width)[..., np.newaxis]
        found = self._answer(image)
        return {**found, "remark": "several digits"} if pieces.several_digits(strokes) else found

    def photo(self, data: bytes) -> dict[str, Any]:
        """Classifies a photo of one digit, in any of Pillow's formats.

        Raises:
            ValueError: no picture, or no ink in it.
        """
        return self._answer(handwriting.read(io.BytesIO(data), self._model.image_shape))

    def _answer(self, image: np.ndarray) -> dict[str, Any]:
        """Classifies an image, uint8 [height, width, 1].

        Returns:
            "names" of the classes and their "probabilities"; "remark", which may be "unsure";
            "pixels", the image's bytes in base64; "height" and "width".
        """
        with self._lock:
            found = self._model.predict(image[np.newaxis])
        height, width, _ = image.shape
        probabilities = [float(value) for value in found.probabilities[0]]
        return {
            "names": [self._model.origin.class_name(n) for n in range(len(probabilities))],
            "probabilities": probabilities,
            "remark": "unsure" if max(probabilities) < UNSURE else "",
            "pixels": base64.b64encode(image.tobytes()).decode(),
            "height": height,
            "width": width,
        }
