"""On which host srun put each task of a step, worked out from SLURM's variables alone."""

import re
from collections.abc import Mapping, Sequence

from mnist_dist.bounded import whole_number
from mnist_dist.cluster.hostlist import MOST_HOSTS, expand_hostlist
from mnist_dist.errors import UsageError, shorten

MOST_TASKS = 2**20  # of a node or a step


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
