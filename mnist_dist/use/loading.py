"""`mnist_dist.load`: checks that the folder holds a run before it imports TensorFlow."""

from typing import TYPE_CHECKING

from mnist_dist.devices.startup_messages import without_startup_messages
from mnist_dist.run.find import find
from mnist_dist.use import origin

if TYPE_CHECKING:
    from mnist_dist.use.model import Model


def load(run_dir: str, tta: bool = False) -> "Model":
    """A run's trained network, on TensorFlow's default device.

    Args:
        run_dir: one of the run's folders.
        tta: test-time averaging: answer by the mean over several views of an image.

    Raises:
        UsageError: no run is there, or its checkpoint is damaged.
    """
    run = origin.read(find(run_dir))
    import_tensorflow(run.one_dnn)
    from mnist_dist.use.model import Model

    return Model(run, tta=tta)


def import_tensorflow(one_dnn: bool) -> None:
    """Imports TensorFlow without its start-up messages.

    Args:
        one_dnn: whether the run computed with oneDNN's kernels, which is settled at import.
    """
    with without_startup_messages(one_dnn):
        import tensorflow as tf

        tf.config.list_physical_devices()  # looking for devices prints greetings, too
