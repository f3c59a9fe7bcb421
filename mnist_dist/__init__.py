"""One MNIST training program for any cluster."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command must soon reach exits.begin, and Ctrl-C before that is a traceback
    from pathlib import Path

    from mnist_dist.use.model import Model

__version__ = "0.1.0"


def load(run_dir: "str | Path", tta: bool = False) -> "Model":
    """Loads a run's trained network: `load(RUN_DIR).predict(images)`.

    Args:
        run_dir: a run's --run_dir, --checkpoint_dir or --output_dir, or one ckpt-STEP.
        tta: test-time averaging: answer by the mean over an image and four copies of it moved by
            half a pixel; slightly more accurate, five times the work.

    Raises:
        errors.UsageError: no run is there, or its checkpoint is damaged.
    """
    from mnist_dist.use.loading import load

    return load(str(run_dir), tta)
