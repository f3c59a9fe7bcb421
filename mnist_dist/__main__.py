"""Lists the commands: `python -m mnist_dist`."""

from mnist_dist import exits

exits.begin(__name__)


from mnist_dist.run.command import Parser, answered

COMMANDS = {
    "train": "trains a network, or resumes a run",
    "evaluate": "scores a run on a data set, or classifies pictures",
    "export": "writes a run's network as a SavedModel and a .keras file",
    "demo": "serves a page to draw digits on and see the network's answers",
    "report": "compares runs and says which setting was best",
    "compare": "finds where two runs first differ: flags, step, layer",
    "doctor": "checks devices, data, folders and network before a run",
    "bench": "measures throughput and predicts it for more replicas",
    "data.prepare": "writes MNIST as a prepared tensorflow-datasets set",
}
"""Module -> what it does."""


def main(argv: list[str]) -> int:
    """Prints the commands; returns the process's exit code."""
    return answered(lambda: _command(argv))


def _command(argv: list[str]) -> int:
    Parser("python -m mnist_dist", _listing()).parse_args(argv)
    print(_listing())
    return 0


def _listing() -> str:
    rows = (f"  python -m mnist_dist.{name:14}{text}" for name, text in COMMANDS.items())
    return "\n".join(
        [
            "Trains on MNIST, on one device or many machines. The commands:",
            *rows,
            "Each has --help and --version. On a cluster: launch/README.md.",
        ]
    )


if __name__ == "__main__":
    exits.end(main)
