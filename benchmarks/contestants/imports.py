"""Imports TensorFlow, as this program does, and does nothing with it: the limit of a start."""

from benchmarks.contestants.turns import Turns
from mnist_dist.devices.startup_messages import without_startup_messages


def main(turns: Turns) -> None:
    """Imports, and waits."""
    with without_startup_messages():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    while turns.over():
        pass


if __name__ == "__main__":
    main(Turns())
