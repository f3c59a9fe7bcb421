"""Says what would run here, and whether it would work, before a job is paid for.

usage: python -m mnist_dist.doctor [--json] [--burn_in=SECONDS] [flags of mnist_dist.train]

In an allocation: srun python -m mnist_dist.doctor, with the flags of the run. It looks at each
worker's devices, cores, memory, versions, flags and data, at the checkpoint folder and the network
between the workers, and takes away again what it tries.

  --json
        print the report as JSON: "verdict" says it in a line, "well" is true or false,
        "findings" are what isn't well, "workers" what each worker is
  --burn_in=SECONDS
        have each device train the same steps over and over for that long, and name one that
        comes to other bits than the others of its kind
  --help
        print this; python -m mnist_dist.train --help lists the flags of a run

Exit code: 0 if the run would work, 1 if it wouldn't, 2 for a wrong flag.
"""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mnist_dist import flags
from mnist_dist.cluster import tool, topology
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.config import Config
from mnist_dist.devices.startup_messages import without_greetings
from mnist_dist.doctor import facts, gpu
from mnist_dist.doctor.report import head, judge, judge_bits, text, verdict
from mnist_dist.errors import EXIT_FAILED, UsageError
from mnist_dist.run.command import answered, leave
from mnist_dist.run.console import Console

GATHER_S = 60.0


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _command(argv))


def _command(argv: list[str]) -> int:
    as_json = "--json" in argv
    try:
        burn_in_s, rest = _burn_in([word for word in argv if word != "--json"])
        config = flags.parse(rest)
        where = topology.from_environment(os.environ, config.cluster)
        with Console(where.is_chief and not as_json) as console:
            report = examine(config, where, console, burn_in_s)
    except flags.HelpRequested:
        print(__doc__.strip())
        return 0
    if where.is_chief:
        print(json.dumps(report, indent=1) if as_json else text(report), flush=True)
    return 0 if report["well"] else EXIT_FAILED


def _burn_in(argv: list[str]) -> tuple[float, list[str]]:
    """Takes --burn_in out of the command line, which the trainer doesn't have: seconds, the rest.

    Raises:
        UsageError: it isn't a number of seconds.
    """
    seconds, rest = 0.0, []
    for word in argv:
        name, _, given = word.partition("=")
        if name.lstrip("-").replace("-", "_") != "burn_in" or not name.startswith("-"):
            rest.append(word)
            continue
        try:
            seconds = float(given)
        except ValueError:
            seconds = 0.0
        if not 0.0 < seconds < math.inf:
            raise UsageError(f"{word}: give seconds, more than 0, such as --burn_in=60")
    return seconds, rest


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
    with without_greetings():
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
    leave(main(sys.argv[1:]))
