"""Writes a run's network for other programs: `python -m mnist_dist.export RUN_DIR OUT [--tflite]`.

RUN_DIR is as for `python -m mnist_dist.evaluate`. OUT gets a new version folder, 1, 2, ..., as
TensorFlow Serving expects them, with a SavedModel and model.keras for plain Keras. --tflite adds
model.tflite and model-int8.tflite, and scores both. None of them needs this package.
"""

from mnist_dist import exits

exits.begin(__name__)

import argparse
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run.command import Parser, answered
from mnist_dist.run.console import Console
from mnist_dist.run.find import find
from mnist_dist.run.folders import writable
from mnist_dist.use import origin
from mnist_dist.use.loading import import_tensorflow

if TYPE_CHECKING:
    from mnist_dist.data.split import Split
    from mnist_dist.use.model import Model


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    args = _arguments(argv)
    run = origin.read(find(args.run_dir))
    writable(Path(args.out), "OUT")
    with Console() as console:
        console.stage("importing TensorFlow")
        import_tensorflow(run.one_dnn)
        from mnist_dist.use.device import load_data, on_device

        console.stage("exporting")
        # Without a GPU, so that the version folder doesn't depend on where it was written.
        with on_device(run, no_gpu=True) as (model, _):
            data = load_data(run, args.data_dir, args.dataset) if args.tflite else None
            folder = export(model, Path(args.out), tflite=args.tflite)
            lines = [*_files(model, folder), *_scores(folder, data.test if data else None)]
        console.stage("")
        console.line("\n".join([f"Exported {model.origin.saved.path}:", *lines]))
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser("python -m mnist_dist.export", __doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run's folder")
    parser.add_argument("out", metavar="OUT", help="folder for the version folders")
    parser.add_argument(
        "--tflite",
        action="store_true",
        help="TFLite files, too, scored on the test set; pip install 'mnist_dist[tflite]'",
    )
    parser.add_argument("--data_dir", help="with --tflite: score on this folder's test set")
    parser.add_argument("--dataset", help="with --tflite: the same, a tensorflow-datasets name")
    args = parser.parse_args(argv)
    for name in ("data_dir", "dataset"):
        if getattr(args, name) and not args.tflite:
            raise UsageError(f"--{name} is what --tflite is scored on; add --tflite, or leave it")
    if args.tflite and importlib.util.find_spec("ai_edge_litert") is None:
        raise UsageError(
            "--tflite scores its files with ai-edge-litert, which isn't installed; "
            "pip install 'mnist_dist[tflite]'"
        )
    return args


def export(model: "Model", out: Path, tflite: bool = False) -> Path:
    """Writes a model into a new version folder, whole or not at all.

    Args:
        model: from `mnist_dist.load`.
        out: the folder of versions.
        tflite: write TFLite files, too.

    Returns:
        The version folder.

    Raises:
        RunError: it can't be written.
    """
    import tensorflow as tf

    from mnist_dist.use import serving

    hidden = out / f".new-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        serving.save(model, hidden)
        if tflite:
            serving.save_tflite(model, hidden)
        folder = out / str(_next_version(out))
        hidden.rename(folder)  # in one step, because a server watches the folder
    except (OSError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{out}: the export can't be written ({reason})") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return folder


def _files(model: "Model", folder: Path) -> Iterator[str]:
    from mnist_dist.use.serving import KERAS_FILE

    shape = ", ".join(map(str, model.image_shape))
    yield (
        f"{folder}  a SavedModel; its signature serving_default takes images, uint8 [n, {shape}], "
        f"and gives class, int64 [n], and probabilities [n, {model.num_classes}]"
    )
    yield f"{folder / KERAS_FILE}  the same for keras.models.load_model"


def _scores(folder: Path, test: "Split | None") -> Iterator[str]:
    """A line for each TFLite file; none without `test`, the split to score them on."""
    if test is None:
        return
    from mnist_dist.use.serving import TFLITE_FILES, tflite_accuracy

    for weights, name in TFLITE_FILES.items():
        accuracy = 100.0 * tflite_accuracy(folder / name, test)
        size = (folder / name).stat().st_size
        yield (
            f"{folder / name}  the same for TFLite, {weights}: {size:,} bytes, "
            f"{accuracy:.2f} % of {len(test.labels):,} test images right"
        )


def _next_version(out: Path) -> int:
    versions = [int(path.name) for path in out.iterdir() if re.fullmatch(r"[1-9]\d*", path.name)]
    return max(versions, default=0) + 1


if __name__ == "__main__":
    exits.end(main)
