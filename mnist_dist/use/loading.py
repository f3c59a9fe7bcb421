"""`mnist_dist.load`: says at once what is no run, then brings TensorFlow."""

from typing import TYPE_CHECKING

from mnist_dist.devices.quiet import without_greetings
from mnist_dist.use.find import find

if TYPE_CHECKING:
    from mnist_dist.use.model import Model


def load(run_dir: str) -> "Model":
    """A run's trained network, on TensorFlow's default device.

    Raises:
        UsageError: no run is there, or its checkpoint is damaged.
    """
    found = find(run_dir)
    with without_greetings(found.one_dnn):
        from mnist_dist.use import model, origin

        model.tf.config.list_physical_devices()  # the first look greets, too
    return model.Model(origin.read(found))
