"""A small vision transformer (Dosovitskiy et al. 2021) for --network=docs/networks/vit.py:vit."""

import keras
from keras import layers

from mnist_dist.layers import Dropout

PATCH, WIDTH, HEADS, DEPTH = 7, 64, 4, 4


class Positions(layers.Layer):
    """Adds a learned vector to each patch."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="random_normal", name="table")

    def call(self, patches):
        return patches + self.table


def block(x):
    """Attention over all patches, then a multilayer perceptron, each around a shortcut."""
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)])
    y = layers.LayerNormalization()(x)
    y = layers.Dense(2 * WIDTH, activation="gelu")(y)
    y = Dropout(0.1)(layers.Dense(WIDTH)(y))
    return layers.Add()([x, y])


def vit(image_shape, num_classes):
    """Logits from images of (height, width, channels), pixels in 0..1."""
    images = keras.Input(image_shape)
    x = layers.Conv2D(WIDTH, PATCH, strides=PATCH, name="patches")(images)
    x = layers.Reshape((-1, WIDTH))(x)
    x = Positions(name="positions")(x)
    for _ in range(DEPTH):
        x = block(x)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(images, layers.Dense(num_classes, name="logits")(x))
