"""The tasks of an srun step and their addresses, worked out from SLURM's variables alone."""

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mnist_dist.bounded import whole_number
from mnist_dist.cluster.address import CANDIDATES, FIRST_PORT, LAST_PORT, join, split
from mnist_dist.cluster.hostlist import MOST_HOSTS, expand_hostlist
from mnist_dist.errors import UsageError, shorten

MOST_TASKS = 2**20  # of a node or a step


class Step(NamedTuple):
    """A step of several tasks.

    Attributes:
        workers: "host:port" of each task by rank, with the first port that it may take.
        rank: of this task.
        name: of this start of the step; a requeued job's steps have other names.
        tasks_per_host: the largest number of tasks on one host.
    """

    workers: tuple[str, ...]
    rank: int
    name: str
    tasks_per_host: int


def in_step(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process."""
    return "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment


def step(environment: Mapping[str, str]) -> Step | None:
    """The step that this process is a task of; None if it is the only task.

    Variables of the job aren't read where the step has its own: a step may use a part of the job.

    Raises:
        UsageError: variables that are malformed or don't fit together.
    """
    tasks = number(environment, "SLURM_STEP_NUM_TASKS")
    if tasks == 1:
        return None
    rank = number(environment, "SLURM_PROCID")
    suffix = environment.get("MNIST_DIST_HOST_SUFFIX", "")
    by_rank = [host + suffix for host in hosts(environment, tasks, rank)]
    name = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '0')}"
    name += f"-{environment.get('SLURM_RESTART_COUNT', '0')}"  # a requeued job keeps its number
    on_host = Counter[str]()  # only on one host do ports have to differ
    numbers = []
    for host in by_rank:
        numbers.append(on_host[host])
        on_host[host] += 1
    most = max(numbers) + 1
    spread = LAST_PORT - FIRST_PORT - most * CANDIDATES
    if spread < 1:
        raise UsageError(f"SLURM: {most} tasks on a host are more than it has ports; give fewer")
    first = FIRST_PORT + zlib.crc32(name.encode("utf-8", "surrogateescape")) % spread
    workers = tuple(join(host, first + n) for host, n in zip(by_rank, numbers, strict=True))
    for worker in workers:
        try:
            split(worker)
        except ValueError as error:
            raise UsageError(f"SLURM: the host '{shorten(worker)}' {error}") from error
    return Step(workers, rank, name, most)


def hosts(environment: Mapping[str, str], tasks: int, rank: int) -> list[str]:
    """The host of each rank, as srun laid them out.

    SLURM tells a task only its own node and the ranks there (SLURM_GTIDS). The others' nodes are
    worked out from the distribution, and checked against these.

    Raises:
        UsageError: variables that are malformed or don't fit together.
    """
    listed = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    nodes, node = expand_hostlist(listed), number(environment, "SLURM_NODEID")
    given_hosts = environment.get("MNIST_DIST_HOSTS", "")
    distribution = environment.get("SLURM_DISTRIBUTION", "block").partition(":")[0]
    if given_hosts:
        by_rank = expand_hostlist(given_hosts)
    elif distribution == "arbitrary":
        raise UsageError(
            "SLURM: with --distribution=arbitrary no task can know the others' hosts; list the "
            'host of each task: export MNIST_DIST_HOSTS="$(paste -sd, "$SLURM_HOSTFILE")"'
        )
    else:
        turn = {"cyclic": "1", "plane": environment.get("SLURM_DIST_PLANESIZE", "")}
        size = whole_number(turn.get(distribution, str(tasks)), MOST_TASKS)
        counts = tasks_of_nodes(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
        fits = size and len(counts) == len(nodes) and sum(counts) == tasks
        by_rank = [nodes[place] for place in _places(counts, size)] if size and fits else []
    here = nodes[node] if node < len(nodes) else ""
    ours = by_rank[rank] if rank < len(by_rank) else ""
    # Hosts that were given may be addresses, and several of them one node's.
    named = not given_hosts or ours in nodes
    ranks_here = [str(number) for number, host in enumerate(by_rank) if host == ours]
    listed_here = environment.get("SLURM_GTIDS", ",".join(ranks_here)).split(",")
    fits = ranks_here == listed_here if named else set(ranks_here) <= set(listed_here)
    if len(by_rank) != tasks or not fits or not ours or (named and ours != here):
        raise _unclear(environment, f"task {rank} of {tasks} is on node {node}")
    return by_rank


def number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A variable that is a number from 0 to MOST_TASKS.

    Raises:
        UsageError: it isn't, or isn't set and there is no default.
    """
    value = environment.get(name, "" if default is None else str(default))
    found = whole_number(value, MOST_TASKS)
    if found is None:
        raise UsageError(
            f"{name}={shorten(value) or '(not set)'} isn't a number from 0 to {MOST_TASKS:,}; "
            "start with srun"
        )
    return found


def _unclear(environment: Mapping[str, str], what: str) -> UsageError:
    names = ("STEP_NODELIST", "STEP_TASKS_PER_NODE", "DISTRIBUTION", "DIST_PLANESIZE", "GTIDS")
    given = {f"SLURM_{name}": environment.get(f"SLURM_{name}", "") for name in names}
    given["MNIST_DIST_HOSTS"] = environment.get("MNIST_DIST_HOSTS", "")
    values = [f"{name}={shorten(value)}" for name, value in given.items() if value]
    return UsageError(
        f"SLURM: {what}, which doesn't fit {', '.join(values)}; "
        "set MNIST_DIST_HOSTS to the host of each task, or give --cluster=none to train alone"
    )


def tasks_of_nodes(text: str) -> list[int]:
    """`2(x3),1` as 2, 2, 2, 1; empty where it is nothing of the kind, or more than MOST_HOSTS."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?", part)
        times = int(match[2] or 1) if match else 0
        if not match or len(counts) + times > MOST_HOSTS:
            return []
        counts += [int(match[1])] * times
    return counts


def _places(counts: Sequence[int], turn: int) -> list[int]:
    """The node of each rank, when nodes with `counts` tasks get up to `turn` of them in turn."""
    left = dict(enumerate(counts))
    places = list[int]()
    while left:
        for node in list(left):
            taken = min(turn, left[node])
            places += [node] * taken
            left[node] -= taken
            if not left[node]:
                del left[node]
    return places
