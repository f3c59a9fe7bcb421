"""A small residual network (He et al. 2016) for --network=docs/networks/resnet.py:resnet."""

import keras
from keras import layers

from mnist_dist.layers import BatchNormalization, Dropout

STAGES = (16, 32, 64)


def convolution(x, filters, stride=1, size=3):
    """A convolution and its normalisation."""
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
    return BatchNormalization()(x)


def block(x, filters, stride):
    """Two convolutions around a shortcut."""
    y = layers.ReLU()(convolution(x, filters, stride))
    y = convolution(y, filters)
    if stride != 1 or x.shape[-1] != filters:
        x = convolution(x, filters, stride, size=1)
    return layers.ReLU()(layers.Add()([x, y]))


def resnet(image_shape, num_classes):
    """Logits from images of (height, width, channels), pixels in 0..1."""
    images = keras.Input(image_shape)
    x = layers.ReLU()(convolution(images, STAGES[0]))
    for number, filters in enumerate(STAGES):
        x = block(x, filters, stride=1 if number == 0 else 2)
        x = block(x, filters, stride=1)
    x = Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, layers.Dense(num_classes, name="logits")(x))
