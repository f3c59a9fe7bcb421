"""`mnist_dist.load`: says at once what is no run, then brings TensorFlow."""

from typing import TYPE_CHECKING

from mnist_dist.devices.startup_messages import without_greetings
from mnist_dist.use import origin
from mnist_dist.use.find import find

if TYPE_CHECKING:
    from mnist_dist.use.model import Model


def load(run_dir: str, tta: bool = False) -> "Model":
    """A run's trained network, on TensorFlow's default device.

    Args:
        run_dir: one of the run's folders.
        tta: answer by the mean over several views of an image.

    Raises:
        UsageError: no run is there, or its checkpoint is damaged.
    """
    made = origin.read(find(run_dir))
    with without_greetings(made.one_dnn):
        import tensorflow as tf

        from mnist_dist.use import model

        tf.config.list_physical_devices()  # the first look greets, too
    return model.Model(made, tta=tta)
