"""Scores a run on a data set, or classifies pictures: `python -m mnist_dist.evaluate RUN_DIR`.

RUN_DIR is a run's --run_dir, --checkpoint_dir or --output_dir, or one ckpt-STEP. Without --images
the run's network is scored on its own test set, with the numbers that the run had. With --images
it classifies handwriting, one digit a picture (pip install 'mnist_dist[predict]').
"""

from mnist_dist import exits

exits.begin(__name__)

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dist.errors import UsageError
from mnist_dist.run.command import Parser, answered
from mnist_dist.run.console import Console
from mnist_dist.run.find import find
from mnist_dist.run.folders import writable, writable_file
from mnist_dist.use import handwriting, origin, picture_files
from mnist_dist.use.loading import import_tensorflow

if TYPE_CHECKING:
    from mnist_dist.devices.replica_placement import ReplicaPlacement
    from mnist_dist.use.model import Model


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m mnist_dist.evaluate", description=__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run's folder")
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument("--split", choices=("test", "validation", "train"), help="default: test")
    scoring.add_argument(
        "--data_dir", "--data-dir", help="folder of other data; default: the run's own"
    )
    scoring.add_argument("--dataset", help="other data: a tensorflow-datasets name")
    scoring.add_argument("--mistakes", metavar="FILE.png", help="draw the worst mistakes there")
    pictures = parser.add_argument_group("classifying pictures")
    pictures.add_argument("--images", nargs="+", metavar="PATH", help="pictures, or their folders")
    pictures.add_argument(
        "--save_preprocessed",
        "--save-preprocessed",
        metavar="DIR",
        help="write the images that the network sees there",
    )
    parser.add_argument(
        "--predict",
        metavar="FILE.csv",
        help="write the answers for test images without labels, or for --images, as a table",
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
    for name in ("split", "mistakes", "json", "dataset"):
        if args.predict and getattr(args, name):
            raise UsageError(f"--{name} doesn't go with --predict; leave one out")
    return args


def _run(args: argparse.Namespace) -> int:
    found = find(args.run_dir)
    if args.images:
        handwriting.check_installed()
    if args.mistakes is not None:
        writable_file(args.mistakes, "--mistakes", ".png")
    if args.predict is not None:
        writable_file(args.predict, "--predict", ".csv")
    pictures = picture_files.find(args.images) if args.images else None
    if args.save_preprocessed:
        writable(Path(args.save_preprocessed), "--save_preprocessed")
    run = origin.read(found)
    with Console() as console:
        console.stage("importing TensorFlow")
        import_tensorflow(run.one_dnn)
        from mnist_dist.use import table
        from mnist_dist.use.classify import classify
        from mnist_dist.use.device import on_device

        console.stage("loading the network")
        with on_device(run, args.no_gpu, args.tta) as (model, placement):
            if args.predict:
                return table.write(model, pictures, args.data_dir, Path(args.predict), console)
            if pictures:
                return classify(model, pictures, args.save_preprocessed, args.json, console)
            _score(model, placement, args, console)
    return 0


def _score(
    model: "Model", placement: "ReplicaPlacement", args: argparse.Namespace, console: Console
) -> None:
    """Scores the network on a split and prints the score.

    Raises:
        UsageError: a data set with other images or classes, or without such a split.
    """
    from mnist_dist.use import score_report
    from mnist_dist.use.device import load_data
    from mnist_dist.use.score import check_fits, score, summary

    name = args.split or "test"
    console.stage("reading the data")
    data = load_data(model.origin, args.data_dir, args.dataset)
    check_fits(model, data)
    split = getattr(data, name)
    if not len(split.labels):
        raise UsageError(f"--split={name}: it is empty in {data.source}; give another split")
    console.stage(f"evaluating {name}")
    evaluation = score(model, placement, split)
    scores = summary(evaluation, split.labels, model.num_classes)
    drawn = []
    if args.mistakes:
        drawn = [score_report.draw_mistakes(model, Path(args.mistakes), split, evaluation)]
    console.stage("")
    if args.json:
        print(json.dumps(score_report.record(model, data, name, scores), allow_nan=False))
        return
    for line in score_report.head(model, data):
        console.line(line)
    print("\n".join([*score_report.text(model, name, scores), *drawn]))


if __name__ == "__main__":
    exits.end(main)
