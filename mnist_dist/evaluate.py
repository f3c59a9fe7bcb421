"""Scores a run, or asks it: `python -m mnist_dist.evaluate RUN_DIR [--images FILE_OR_FOLDER ...]`.

RUN_DIR is a run's --run_dir, --checkpoint_dir or --output_dir, or one ckpt-STEP. Without --images
the run's network is scored on its own test set, with the numbers that the run had; with them, it
reads people's handwriting, a digit a picture (pip install 'mnist_dist[predict]').
"""

import argparse
import sys
from pathlib import Path

from mnist_dist.devices.startup_messages import without_greetings
from mnist_dist.errors import UsageError
from mnist_dist.run.command import Parser, answered, leave
from mnist_dist.run.console import Console
from mnist_dist.run.folders import writable
from mnist_dist.use import handwriting, origin
from mnist_dist.use.find import find


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m mnist_dist.evaluate", description=__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="where the run has saved or written")
    scored = parser.add_argument_group("to score")
    scored.add_argument("--split", choices=("test", "validation", "train"), help="default: test")
    scored.add_argument(
        "--data_dir", "--data-dir", help="folder of other data; default: the run's own"
    )
    scored.add_argument("--dataset", help="other data: a tensorflow-datasets name")
    scored.add_argument("--mistakes", metavar="FILE.png", help="draw the worst mistakes there")
    asked = parser.add_argument_group("to ask")
    asked.add_argument("--images", nargs="+", metavar="PATH", help="pictures, or folders of them")
    asked.add_argument(
        "--save_preprocessed", "--save-preprocessed", metavar="DIR", help="what the network saw"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time averaging: the mean answer to an image and to it moved by half a pixel",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the text")
    parser.add_argument("--no_gpu", "--no-gpu", action="store_true", help="leave GPUs alone")
    args = parser.parse_args(argv)
    for name in ("split", "data_dir", "dataset", "mistakes"):
        if args.images and getattr(args, name):
            raise UsageError(f"--{name} is for scoring a data set, not for --images; leave one out")
    if args.save_preprocessed and not args.images:
        raise UsageError("--save_preprocessed goes with --images; give those")
    return args


def _run(args: argparse.Namespace) -> int:
    found = find(args.run_dir)
    if args.images:
        handwriting.check_installed()
    if args.mistakes:
        _check_picture(Path(args.mistakes))
    pictures = handwriting.files(args.images) if args.images else []
    if args.save_preprocessed:
        writable(Path(args.save_preprocessed), "--save_preprocessed")
    made = origin.read(found)
    with Console() as console:
        console.stage("importing TensorFlow")
        with without_greetings(made.one_dnn):
            import tensorflow as tf

            from mnist_dist.use import answers

            tf.config.list_physical_devices()  # the first look greets, too
        console.stage("loading the network")
        with answers.model(made, args.no_gpu, args.tta) as (model, placement):
            if args.images:
                return answers.ask(model, pictures, args.save_preprocessed, args.json, console)
            console.stage("reading the data")
            answers.score(
                model,
                placement,
                answers.data(made, args.data_dir, args.dataset),
                args.split or "test",
                args.mistakes,
                args.json,
                console,
            )
    return 0


def _check_picture(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise UsageError(f"--mistakes={path}: give a name that ends in .png")
    writable(path.resolve().parent, "the folder of --mistakes")


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
