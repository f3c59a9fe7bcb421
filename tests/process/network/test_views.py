"""Test-time averaging, against TensorFlow's sampling and NumPy's mean; float64, one replica."""

import numpy as np
import tensorflow as tf

from mnist_dist.network import views
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.model import Network

SHAPE = (9, 7, 2)


def images(count):
    return tf.constant(np.random.default_rng(6).random((count, *SHAPE)))


def moved(given, right, down):
    """The images sampled bilinearly at places `right` and `down` of each pixel."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=given,
        transforms=[[1.0, 0.0, right, 0.0, 1.0, down, 0.0, 0.0]],
        output_shape=SHAPE[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    ).numpy()


def test_views_are_half_a_pixel_to_each_side():
    given = images(3)
    found = [view.numpy() for view in views.views(given)]
    places = (0.0, 0.0), (0.0, 0.5), (0.0, -0.5), (0.5, 0.0), (-0.5, 0.0)
    for view, place in zip(found, places, strict=True):
        sampled = moved(given, *place)  # in float32, whatever the images are
        np.testing.assert_allclose(view, sampled, rtol=0, atol=6e-8)


def test_the_mean_of_their_probabilities():
    network = Network(
        Architecture(
            SHAPE,
            6,
            conv_filters=(3, 3),
            kernel_size=3,
            dense_units=(5,),
            batch_norm=True,
            precision="float64",
        )
    )
    parts = [images(5)[:3], images(5)[3:]]
    alone = [views.logits(network, [part], tta=True)[0].numpy() for part in parts]
    for part, found, single in zip(
        parts, views.logits(network, parts, tta=True), alone, strict=True
    ):
        each = [tf.nn.softmax(network(view)[0]).numpy() for view in views.views(part)]
        np.testing.assert_allclose(tf.nn.softmax(found), np.mean(each, 0), rtol=1e-13)
        np.testing.assert_allclose(found, np.log(np.mean(each, 0)), rtol=1e-12)
        assert (found.numpy() == single).all()
        plain = views.logits(network, [part], tta=False)[0].numpy()
        assert (plain == network(part)[0].numpy()).all()
        assert not np.allclose(plain - plain[:, :1], found - found[:, :1])
