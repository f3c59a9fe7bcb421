"""Checks what would run here, and whether it would work, before a job is paid for.

In an allocation: srun python -m mnist_dist.doctor, with the flags of the run. It checks each
worker's devices, cores, memory, versions, flags and data, the checkpoint folder and the network
between the workers. Whatever it writes to try them, it deletes again.
"""

from mnist_dist import exits

exits.begin(__name__)

import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from mnist_dist import flags
from mnist_dist.cluster import tool, topology
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.config import Config
from mnist_dist.devices.startup_messages import without_startup_messages
from mnist_dist.doctor import facts, gpu
from mnist_dist.doctor.report import head, judge, judge_bits, text, verdict
from mnist_dist.errors import EXIT_FAILED
from mnist_dist.run.command import Parser, answered, seconds
from mnist_dist.run.console import Console

GATHER_S = 60.0

EPILOG = """All other flags are those of a run: python -m mnist_dist.train --help lists them.

Exit code: 0 if the run would work, 1 if it wouldn't, 2 for a wrong flag.
"""
JSON_HELP = (
    'print the report as JSON: "verdict" is one line, "well" is true or false, "findings" are the '
    'problems, "workers" describes each worker'
)
BURN_IN_HELP = (
    "train the same steps on each device over and over for S seconds, and name each device whose "
    "bits differ from those of the others of its kind"
)


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _command(argv))


def _command(argv: list[str]) -> int:
    parser = Parser("python -m mnist_dist.doctor", __doc__, EPILOG)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    burn_in_s = seconds("--burn_in", "60")
    parser.add_argument("--burn_in", metavar="S", type=burn_in_s, default=0.0, help=BURN_IN_HELP)
    own, rest = parser.parse_known_args(argv)
    config = flags.parse(rest)
    where = topology.from_environment(os.environ, config.cluster)
    with Console(where.is_chief and not own.json) as console:
        report = examine(config, where, console, own.burn_in)
    if where.is_chief:
        print(json.dumps(report, indent=1) if own.json else text(report), flush=True)
    return 0 if report["well"] else EXIT_FAILED


def examine(
    config: Config, where: topology.Topology, console: Console, burn_in_s: float = 0.0
) -> dict[str, Any]:
    """Looks at all workers, the same report on each: its keys are those that --json prints.

    Args:
        config: the run's flags.
        where: which worker this is.
        console: where what needs no TensorFlow is printed at once.
        burn_in_s: seconds in which each device trains the same over and over; 0 for none.

    Raises:
        UsageError, RunError: the workers can't even meet; the message says why.
    """
    if where.num_workers == 1:
        return _look(config, where, console, None, lambda value: [value], burn_in_s)
    # What the workers are started with is compared later, all of it, and shown.
    limits = config.connect_timeout, config.peer_timeout
    with tool.met(where, "doctor", {}, *limits, config.interface) as meeting:
        gather = functools.partial(meeting.gather, timeout_s=GATHER_S + burn_in_s)
        return _look(config, where, console, meeting, gather, burn_in_s)


def _look(  # noqa: PLR0913
    config: Config,
    where: topology.Topology,
    console: Console,
    meeting: Meeting | None,
    gather: Callable[[Any], Sequence[Any]],
    burn_in_s: float,
) -> dict[str, Any]:
    own = facts.machine(config, where) | facts.data(config)
    console.line(head(config, own))
    with without_startup_messages():
        console.stage("importing TensorFlow")
        from mnist_dist.doctor import burn_in, connectivity

        console.stage("looking for devices")
        seen = connectivity.seen()
        console.stage("looking at the workers")
    own |= connectivity.devices(config, where.num_workers)
    own |= gpu.look(*seen)
    with facts.probe(config.checkpoint_dir, where.is_chief) as problem:
        if not gather(problem)[0]:
            problem = facts.sees(config.checkpoint_dir, gather)
    own |= {"checkpoint_problem": problem}
    gather("all at once")
    clocks = gather(facts.now_s())
    own |= {"clock_skew_s": clocks[where.rank] - clocks[0]}
    workers = gather(own)
    findings = judge(workers)
    report: dict[str, Any] = {
        "verdict": "",  # comes last, and stands first
        "well": False,
        "workers": workers,
        "source": where.source,
        "note": where.note,
        "config": config.as_dict(),
        "findings": findings,
        "all_reduce": None,
        "burn_in": None,
    }
    if not any(finding["bad"] for finding in findings):
        console.stage("measuring an all-reduce")
        addresses, names = meeting.workers if meeting else (), tuple(own["devices"])
        built = connectivity.build(config, names, addresses, where.rank, bool(burn_in_s))
        report["all_reduce"] = connectivity.all_reduce(built, where.rank)
        if burn_in_s:
            console.stage("burning in")
            cores = max(worker["cores"] for worker in workers)
            burned = gather(burn_in.devices(config, built, cores, burn_in_s))
            report["burn_in"] = {"seconds": burn_in_s, "workers": burned}
            findings += judge_bits(workers, burned)
    well = not any(finding["bad"] for finding in findings)
    report |= {"well": well, "verdict": verdict(well)}
    return report


if __name__ == "__main__":
    exits.end(main)
