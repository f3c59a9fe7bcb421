"""Checks what would run here, and whether it would work, before a job is submitted.

In an allocation: srun python -m mnist_dist.doctor, with the flags of the run. It checks each
worker's devices, cores, memory, versions, flags and data, the checkpoint folder and the network
between the workers. It deletes the files that it writes for this.
"""

from mnist_dist import exits

exits.begin(__name__)

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mnist_dist import flags
from mnist_dist.cluster import host_share, tool
from mnist_dist.cluster.host_share import Share
from mnist_dist.cluster.rendezvous import Terms
from mnist_dist.cluster.topology import Topology, from_environment
from mnist_dist.config import Config
from mnist_dist.devices.startup_messages import without_startup_messages
from mnist_dist.doctor import facts, gpu
from mnist_dist.doctor.report import differing_devices, header, problems, text, verdict
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
    topology = from_environment(os.environ, config.cluster)
    with Console(topology.is_chief and not own.json) as console:
        report = examine(config, topology, console, own.burn_in)
    if topology.is_chief:
        print(json.dumps(report, indent=1) if own.json else text(report), flush=True)
    return 0 if report["well"] else EXIT_FAILED


class Group(NamedTuple):
    """The workers that run the doctor together.

    Attributes:
        topology: the workers, and which of them this one is.
        addresses: host:port of each worker by rank; empty for one worker.
        gather: returns the values that all workers give, by rank. All workers call it.
        gpus: --gpus for this worker; None if it is the flag's value.
        share: this worker's part of its host.
    """

    topology: Topology
    addresses: Sequence[str]
    gather: Callable[[Any], Sequence[Any]]
    gpus: str | None = None
    share: Share = Share()

    def devices_config(self, config: Config) -> Config:
        """The flags with the GPUs of this worker alone."""
        return config if self.gpus is None else dataclasses.replace(config, gpus=self.gpus)


def examine(
    config: Config, topology: Topology, console: Console, burn_in_s: float = 0.0
) -> dict[str, Any]:
    """Checks all workers and returns the report, the same on each, with the keys of --json.

    Args:
        config: the run's flags.
        topology: the workers, and which of them this one is.
        console: prints the lines that need no TensorFlow at once.
        burn_in_s: seconds for which each device repeats the same training; 0 for none.

    Raises:
        UsageError, RunError: the workers can't connect to each other.
    """
    if topology.num_workers == 1:
        return _examine(config, Group(topology, (), lambda value: [value]), console, burn_in_s)
    # The flags and versions of the workers are compared afterwards, so that all differences show.
    limits = config.connect_timeout, config.peer_timeout
    terms = Terms(*limits, config.interface, {}, config.meeting_folder)
    with tool.met(topology, "doctor", terms) as meeting:
        share, gpus = host_share.take(meeting, topology, config.no_gpu, config.gpus)
        gather = functools.partial(meeting.gather, timeout_s=GATHER_S + burn_in_s)
        group = Group(topology, meeting.workers, gather, gpus, share)
        return _examine(config, group, console, burn_in_s)


def _examine(config: Config, group: Group, console: Console, burn_in_s: float) -> dict[str, Any]:
    own = _facts(config, group, console)
    workers = group.gather(own)
    report: dict[str, Any] = {
        "verdict": "",  # set last; here, so that it is printed first
        "well": False,
        "workers": workers,
        "source": group.topology.source,
        "note": group.topology.note,
        "config": config.as_dict(),
        "findings": problems(workers),
        "all_reduce": None,
        "burn_in": None,
    }
    if not _bad(report):
        _run_on_devices(config, group, console, report, burn_in_s)
    well = not _bad(report)
    return report | {"well": well, "verdict": verdict(well)}


def _facts(config: Config, group: Group, console: Console) -> dict[str, Any]:
    """Returns this worker's facts: see `facts`, `gpu` and `connectivity`."""
    topology, gather = group.topology, group.gather
    address = group.addresses[topology.rank] if group.addresses else ""
    own = facts.machine(config, topology.rank, address) | facts.data(config)
    own |= {"local_rank": group.share.local_rank, "local_size": group.share.local_size}
    console.line(header(config, own))
    with without_startup_messages():
        console.stage("importing TensorFlow")
        from mnist_dist.doctor import connectivity

        console.stage("looking for devices")
        build, visible_gpus = connectivity.tensorflow_build()
        console.stage("checking the workers")
    own |= connectivity.devices(group.devices_config(config), topology.num_workers)
    own |= gpu.facts(build, visible_gpus)
    with facts.probe(config.checkpoint_dir, topology.is_chief) as problem:
        if not gather(problem)[0]:
            problem = facts.probe_problem(config.checkpoint_dir, gather)
    own |= {"checkpoint_problem": problem}
    gather("synchronised")  # so that all read their clocks at the same time
    clocks = gather(facts.now_s())
    return own | {"clock_skew_s": clocks[topology.rank] - clocks[0]}


def _run_on_devices(
    config: Config, group: Group, console: Console, report: dict[str, Any], burn_in_s: float
) -> None:
    """Adds the all-reduce and the burn-in to the report."""
    from mnist_dist.doctor import burn_in, connectivity

    console.stage("measuring an all-reduce")
    workers, rank = report["workers"], group.topology.rank
    names = tuple(workers[rank]["devices"])
    devices_config, exact = group.devices_config(config), bool(burn_in_s)
    built = connectivity.build(devices_config, names, tuple(group.addresses), rank, exact)
    report["all_reduce"] = connectivity.all_reduce(built, rank)
    if burn_in_s:
        console.stage("burning in")
        cores = max(worker["cores"] for worker in workers)
        burned = group.gather(burn_in.devices(config, built, cores, burn_in_s))
        report["burn_in"] = {"seconds": burn_in_s, "workers": burned}
        report["findings"] += differing_devices(workers, burned)


def _bad(report: dict[str, Any]) -> bool:
    return any(finding["bad"] for finding in report["findings"])


if __name__ == "__main__":
    exits.end(main)
