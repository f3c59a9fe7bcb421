"""Random shifts, turns and zooms of training images, the same on any number of replicas."""

import math
from typing import NamedTuple

import tensorflow as tf

from mnist_dist.network import xla
from mnist_dist.network.row_positions import RowPositions

STREAM = 1


class Augmentation(NamedTuple):
    """The largest changes; each is drawn uniformly between minus and plus its value.

    Attributes:
        shift_px: pixels, along each side.
        rotate_deg: degrees.
        zoom: relative; 0.1 is from 0.9 to 1.1 times.
    """

    shift_px: float = 0.0
    rotate_deg: float = 0.0
    zoom: float = 0.0

    def apply(self, images: tf.Tensor, rows: RowPositions) -> tf.Tensor:
        """Changes each image about its centre, with bilinear sampling and zeros around it.

        Args:
            images: float32 or float64 [rows, height, width, channels].
            rows: positions of the images in the global batch.
        """
        if not any(self):
            return images
        size, height, width, _ = images.shape
        draw = rows.uniform(size, 4, STREAM) * 2.0 - 1.0
        transforms = self.transforms(draw, height, width)
        if rows.compiled:
            return xla.transformed(images, transforms)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=[height, width],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )

    def transforms(self, draw: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Projective transforms from output to input pixels: float32 [rows, 8].

        They have the form of TensorFlow's ImageProjectiveTransformV3.

        Args:
            draw: float32 [rows, 4] in -1..1: turn, zoom, shift along x, shift along y.
            height: of the images, in pixels.
            width: of the images, in pixels.
        """
        # In float64, because TensorFlow's float32 cosine depends on the place in the vector.
        draw = tf.cast(draw, tf.float64)
        turn = draw[:, 0] * (self.rotate_deg * math.pi / 180.0)
        scale = 1.0 / (1.0 + draw[:, 1] * self.zoom)
        cos, sin = tf.cos(turn) * scale, tf.sin(turn) * scale
        x, y = (width - 1) / 2.0, (height - 1) / 2.0
        left = x - cos * x + sin * y + draw[:, 2] * self.shift_px
        top = y - sin * x - cos * y + draw[:, 3] * self.shift_px
        zero = tf.zeros_like(cos)
        rows = tf.stack([cos, -sin, left, sin, cos, top, zero, zero], 1)
        return tf.cast(rows, tf.float32)
