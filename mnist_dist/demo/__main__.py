"""Serves a page to draw digits on: `python -m mnist_dist.demo RUN_DIR [--port=8000]`.

RUN_DIR is as for `python -m mnist_dist.evaluate`. Draw with the mouse, a pen or a finger, or drop a
photo: the page shows what the network sees and how sure it is of each class. Ctrl-C ends it.
"""

from mnist_dist import exits

exits.begin(__name__)

import argparse
import ipaddress

from mnist_dist.demo import server
from mnist_dist.errors import UsageError
from mnist_dist.run.command import Parser, answered
from mnist_dist.run.console import Console
from mnist_dist.run.find import find
from mnist_dist.use import handwriting, origin
from mnist_dist.use.loading import import_tensorflow

HIGHEST_PORT = 65535


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m mnist_dist.demo", description=__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="a folder of the run")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to serve at; 0.0.0.0: all of this machine's, for a classroom "
        "(default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="the TCP port; 0: any free one (default: 8000)"
    )
    args = parser.parse_args(argv)
    try:
        ipaddress.IPv4Address(args.host)
    except ValueError as error:
        raise UsageError(
            f"--host={args.host}: give an IPv4 address of this machine, such as 127.0.0.1, or "
            "0.0.0.0 for all of them"
        ) from error
    if not 0 <= args.port <= HIGHEST_PORT:
        raise UsageError(f"--port={args.port}: give a number from 0 to {HIGHEST_PORT}")
    return args


def _run(args: argparse.Namespace) -> int:
    handwriting.check_installed()
    made = origin.read(find(args.run_dir))
    channels = made.network.image_shape[2]
    if channels != 1:
        raise UsageError(
            f"the run's images have {channels} channels; the page draws in one, for runs on sets "
            "such as MNIST"
        )
    with Console() as console, server.listening(args.host, args.port) as listener:
        console.stage("importing TensorFlow")
        import_tensorflow(made.one_dnn)
        from mnist_dist.demo.classifier import Classifier

        console.stage("loading the network")
        classifier = Classifier(made)
        console.stage("")
        console.line(f"Draw at {listener.url}  (Ctrl-C ends it)")
        if not ipaddress.ip_address(args.host).is_loopback:
            console.line(
                "Everyone who can reach this machine over the network can open the page; it reads "
                "drawings and photos and keeps none."
            )
        listener.serve(classifier)
    return 0


if __name__ == "__main__":
    exits.end(main)
