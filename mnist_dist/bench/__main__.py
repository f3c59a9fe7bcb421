"""Measures the throughput of this allocation and predicts that of a larger one.

In an allocation: srun python -m mnist_dist.bench, with the flags of the run. It trains for some
seconds each on 1, 2, 4 ... and all replicas, with --batch_size images on each (weak scaling) and
over all of them (strong scaling), and times the sum of the gradients. From that it predicts 2 to
1,024 replicas: where adding replicas stops paying off, and which flags move that limit. Nothing is
saved.
"""

from mnist_dist import exits

exits.begin(__name__)

import contextlib
import functools
import importlib.util
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist import flags, reduce_choice
from mnist_dist.bench import plan, result, start
from mnist_dist.bench.page import text
from mnist_dist.cluster import host_share, tool
from mnist_dist.cluster.rendezvous import Terms
from mnist_dist.cluster.topology import Topology, from_environment
from mnist_dist.config import Config
from mnist_dist.devices import resources
from mnist_dist.devices.processor import CACHES, CPUINFO, processor
from mnist_dist.devices.startup_messages import one_dnn_settings
from mnist_dist.errors import UsageError
from mnist_dist.run.command import Parser, answered, seconds
from mnist_dist.run.console import Console
from mnist_dist.run.folders import writable_file, writing
from mnist_dist.run.versions import versions
from mnist_dist.training.reduce_plan import Sending

LEVEL_S = 900.0
"""The time limit of a level, for slow networks."""


EPILOG = """All other flags are those of a run: python -m mnist_dist.train --help lists them.

Exit code: 0, 1 for a failure, 2 for a wrong flag.
"""


class Options(NamedTuple):
    """The bench's own flags, and the trainer's as they were given."""

    json: str = ""
    png: str = ""
    seconds: float = 2.0
    flags: tuple[str, ...] = ()


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _command(argv), "interrupted; nothing was written")


def _command(argv: list[str]) -> int:
    options = read(argv)
    config = flags.parse(options.flags)
    _check(config, options)
    topology = from_environment(os.environ, config.cluster)
    with Console(topology.is_chief, config.verbosity) as console:
        report = bench(config, options, topology, console)
    if topology.is_chief:
        _publish(report, options)
    return 0


def read(argv: Sequence[str]) -> Options:
    """Separates the bench's own flags from the trainer's.

    Raises:
        UsageError: a flag without a value, or with a value that doesn't fit.
        TextRequested: `--help` or `--version` was given.
    """
    parser = Parser("python -m mnist_dist.bench", __doc__, EPILOG)
    parser.add_argument(
        "--json", metavar="FILE", help="write all figures as JSON; times in seconds"
    )
    parser.add_argument(
        "--png", metavar="FILE", help="plot measured and predicted throughput and efficiency"
    )
    parser.add_argument(
        "--seconds",
        type=seconds("--seconds", "2"),
        default=2.0,
        metavar="X",
        help="length of each timed training, default 2; longer is more precise",
    )
    own, rest = parser.parse_known_args(argv)
    return Options(own.json or "", own.png or "", own.seconds, tuple(rest))


def _check(config: Config, options: Options) -> None:
    if options.png and importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            f"--png={options.png} needs matplotlib; pip install 'mnist_dist[report]', or leave it "
            "out"
        )
    if config.shards:
        raise UsageError(
            f"--shards={config.shards}: the bench predicts a ring's sum, and shards are summed "
            "otherwise; leave it out"
        )


def bench(config: Config, options: Options, topology: Topology, console: Console) -> dict[str, Any]:
    """Measures all levels and predicts more; the keys are those that --json writes.

    Raises:
        UsageError, RunError: a wrong flag, or a failure of a worker, as in the trainer.
    """
    if topology.num_workers == 1:
        return _measure(config, options, topology, console, (), lambda value: [value])
    given = {name: str(value) for name, value in config.as_dict().items()}
    same = {"flags": given, "versions": versions()}
    limits = config.connect_timeout, config.peer_timeout
    terms = Terms(*limits, config.interface, same, config.meeting_folder)
    with tool.met(topology, "bench", terms) as meeting:
        _, gpus = host_share.take(meeting, topology, config.no_gpu, config.gpus)
        if gpus != config.gpus:
            options = options._replace(flags=(*options.flags, f"--gpus={gpus}"))
        kind = {**processor(CPUINFO, CACHES), "onednn": one_dnn_settings()}
        difference = functools.partial(meeting.difference, timeout_s=LEVEL_S)
        config, why = reduce_choice.settled(config, kind, resources.cores(), difference)
        if why:
            console.line(why)
            options = options._replace(flags=(*options.flags, f"--reduce={config.reduce}"))
        gather = functools.partial(meeting.gather, timeout_s=LEVEL_S)
        return _measure(config, options, topology, console, meeting.workers, gather)


def _measure(  # noqa: PLR0913
    config: Config,
    options: Options,
    topology: Topology,
    console: Console,
    addresses: Sequence[str],
    gather: Callable[[Any], Sequence[Any]],
) -> dict[str, Any]:
    began = time.monotonic()
    if topology.is_chief:
        for flag in ("json", "png"):
            if name := getattr(options, flag):
                writable_file(name, f"--{flag}")

    def measure(level: plan.Level, devices: int, argv: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the results of the workers of a level; all workers call it."""
        started = time.monotonic()
        console.stage(f"measuring {level.replicas} replica(s)")
        workers = tuple(addresses[: level.workers]) if level.workers > 1 else ()
        task = plan.Task(workers, topology.rank, devices, options.seconds)
        mine = topology.rank < level.workers
        with start.measured(task, argv) if mine else contextlib.nullcontext() as own:
            found = gather(own)[: level.workers]
        gather("ended")  # the next level's processes take the same ports
        console.line(f"{level.replicas} replica(s): measured in {time.monotonic() - started:.0f} s")
        return list(found)

    argv = list(options.flags)
    one = plan.Level(1, 1)
    [first] = measure(one, 0, argv)
    if config.precision == "auto":
        argv.append(f"--precision={first['precision']}")
    rows, last = [result.merge(one, [first])], first
    for level in plan.levels(topology.num_workers, first["devices"])[1:]:
        found = measure(level, level.devices, argv)
        rows.append(result.merge(level, found))
        last = found[0]
    result.figures(rows)
    sending = Sending.from_json(last["sending"])
    own = {"rank": topology.rank, "host": socket.gethostname(), "cores": first["cores"]}
    return {
        "workers": list(gather(own)),
        "hardware": first["hardware"],
        "shared": first["kind"] == "cpu" and first["devices"] > 1,
        "precision": first["precision"],
        **{name: first[name] for name in ("parameters", "bytes")},
        "reductions": sending.reductions(0),
        "levels": rows,
        "prediction": result.prediction(rows, sending, config.accumulate_steps),
        "seconds": time.monotonic() - began,
        "versions": versions(),
        "config": config.as_dict(),
    }


def _publish(report: dict[str, Any], options: Options) -> None:
    """Prints the report, and writes the files of --json and --png.

    Raises:
        RunError: a file can't be written.
    """
    print(text(report), flush=True)
    if options.json:
        with writing(Path(options.json)):
            Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    if options.png:
        from mnist_dist.bench.figure import draw

        with writing(Path(options.png)):
            draw(report, Path(options.png))


if __name__ == "__main__":
    exits.end(main)
