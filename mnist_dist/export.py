"""Writes a run's network for others: `python -m mnist_dist.export RUN_DIR OUT`.

RUN_DIR is as for `python -m mnist_dist.evaluate`. OUT gets a new version folder, 1, 2, ..., as
TensorFlow Serving has them: in it a SavedModel, and model.keras for plain Keras. Neither needs
this package.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dist.devices.startup_messages import without_greetings
from mnist_dist.errors import RunError
from mnist_dist.run.command import Parser, answered, leave
from mnist_dist.run.console import Console
from mnist_dist.run.folders import writable
from mnist_dist.use import origin
from mnist_dist.use.find import find

if TYPE_CHECKING:
    from mnist_dist.use.model import Model

KERAS_FILE = "model.keras"


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    parser = Parser("python -m mnist_dist.export", __doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="where the run has saved or written")
    parser.add_argument("out", metavar="OUT", help="folder for the version folders")
    args = parser.parse_args(argv)
    made = origin.read(find(args.run_dir))
    writable(Path(args.out), "OUT")
    with Console() as console:
        console.stage("importing TensorFlow")
        with without_greetings(made.one_dnn):
            import tensorflow as tf

            from mnist_dist.use import answers

            tf.config.list_physical_devices()  # the first look greets, too
        console.stage("exporting")
        with answers.model(made, no_gpu=True) as (model, _):  # nothing is computed
            place = export(model, Path(args.out))
        height, width, channels = model.image_shape
        console.stage("")
        console.line(
            f"Exported {model.origin.saved.path}:\n"
            f"{place}  a SavedModel; its signature serving_default takes images, uint8 "
            f"[n, {height}, {width}, {channels}], and gives class, int64 [n], and probabilities "
            f"[n, {model.num_classes}]\n"
            f"{place / KERAS_FILE}  the same for keras.models.load_model"
        )
    return 0


def export(model: "Model", out: Path) -> Path:
    """Writes a model into a new version folder, whole or not at all.

    Args:
        model: from `mnist_dist.load`.
        out: the folder of versions.

    Returns:
        The version folder.

    Raises:
        RunError: it can't be written.
    """
    import tensorflow as tf

    from mnist_dist.use import plain

    network = plain.keras_model(model.origin.network, model.weights())
    hidden = out / f".new-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        served = plain.Served(network)
        tf.saved_model.save(served, str(hidden), signatures={"serving_default": served.serve})
        network.save(hidden / KERAS_FILE)
        place = out / str(_next_version(out))
        hidden.rename(place)  # at once, since a server watches the folder
    except (OSError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{out}: the export can't be written ({reason})") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return place


def _next_version(out: Path) -> int:
    versions = [int(path.name) for path in out.iterdir() if re.fullmatch(r"[1-9]\d*", path.name)]
    return max(versions, default=0) + 1


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
