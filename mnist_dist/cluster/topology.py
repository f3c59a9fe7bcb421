"""Who runs where: a pure function of the environment a process was started in.

TensorFlow's SlurmClusterResolver isn't used: it sorts the hosts, so that ranks and hosts part;
it knows one bracket in a host list; all its jobs take port 8888; it overwrites
CUDA_VISIBLE_DEVICES.
"""

import dataclasses
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_dist.cluster.hostlist import expand_hostlist
from mnist_dist.errors import UsageError

__all__ = ["Topology", "expand_hostlist", "from_environment"]

FIRST_PORT, LAST_PORT = 15000, 32000  # below the ports that Linux gives to outgoing connections
SLURM_CANDIDATES = 8


@dataclasses.dataclass(frozen=True)
class Topology:
    """The workers of one run, as this process sees them.

    Attributes:
        workers: "host:port" by rank, the first candidate of each; empty for a process alone.
        rank: this process's number.
        source: "none", "tf_config" or "slurm".
        token: names the run; a peer of another run has another.
        port_candidates: how many ports a worker may try, in steps of the number of workers.
        note: one line for the log, if there is something to say.
    """

    workers: tuple[str, ...] = ()
    rank: int = 0
    source: str = "none"
    token: str = ""
    port_candidates: int = 1
    note: str = ""

    @property
    def num_workers(self) -> int:
        """How many processes train together; 1 for a process alone."""
        return max(len(self.workers), 1)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files: worker 0."""
        return self.rank == 0

    @property
    def host(self) -> str:
        """This worker's host name; empty for a process alone."""
        return self.workers[self.rank].rpartition(":")[0] if self.workers else ""

    @property
    def port(self) -> int:
        """This worker's first port; 0 for a process alone."""
        return int(self.workers[self.rank].rpartition(":")[2]) if self.workers else 0


def from_environment(environment: Mapping[str, str], cluster: str = "auto") -> Topology:
    """Reads the workers from TF_CONFIG or SLURM's variables.

    Args:
        environment: such as os.environ.
        cluster: "tf_config" and "slurm" insist on one; "auto" takes TF_CONFIG where it is set,
            then SLURM, then this process alone; "none" is this process alone.

    Raises:
        UsageError: a variable that is malformed or missing.
    """
    if cluster == "none":
        return Topology()
    if cluster == "tf_config" and not environment.get("TF_CONFIG"):
        raise UsageError("--cluster=tf_config: TF_CONFIG isn't set; set it in each process")
    if cluster == "slurm" and "SLURM_JOB_ID" not in environment:
        raise UsageError("--cluster=slurm: SLURM_JOB_ID isn't set; start with sbatch or srun")
    if environment.get("TF_CONFIG") and cluster != "slurm":
        return _tf_config(environment["TF_CONFIG"])
    if "SLURM_JOB_ID" in environment:
        return _slurm(environment)
    return Topology()


def _tf_config(text: str) -> Topology:
    """TensorFlow's own way: a cluster of workers (and maybe a chief), and this process's task."""

    def wrong(what: str) -> UsageError:
        form = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        return UsageError(f"TF_CONFIG: {what}; it has the form {form}")

    try:
        config = json.loads(text)
    except ValueError as error:
        raise wrong(f"not JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster"), dict):
        raise wrong("no 'cluster' with lists of addresses")
    cluster, task = config["cluster"], config.get("task")
    if not isinstance(task, dict):
        raise wrong("no 'task' with type and index")
    unknown = sorted({*cluster, str(task.get("type"))} - {"chief", "worker"})
    if unknown:
        raise wrong(f"'{unknown[0]}' is no kind of task here, allowed are chief and worker")
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses:
            raise wrong(f"'{kind}' must be a list of addresses, it is {json.dumps(addresses)}")
        for address in addresses:
            _check_address(address, wrong)
    if len(cluster.get("chief", [])) > 1:
        raise wrong("more than one chief")
    workers = cluster.get("chief", []) + cluster.get("worker", [])
    twice = [a for a in workers if workers.count(a) > 1]
    if twice:
        raise wrong(f"the address {twice[0]} stands there twice")
    index, kind = task.get("index"), task["type"]
    size = len(cluster.get(kind, []))
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
        raise wrong(f"task index {json.dumps(index)}, but the cluster has {size} of type '{kind}'")
    if len(workers) == 1:
        return Topology(source="tf_config", note="TF_CONFIG names one worker: this process alone.")
    rank = index + (len(cluster.get("chief", [])) if kind == "worker" else 0)
    token = f"tf_config-{zlib.crc32(json.dumps(workers).encode()):08x}"
    return Topology(tuple(workers), rank, "tf_config", token)


def _check_address(address: Any, wrong: Any) -> None:
    host, _, port = str(address).rpartition(":")
    if not isinstance(address, str) or not host or not port.isdigit():
        raise wrong(f"the address {json.dumps(address)} isn't host:port")
    if not 1 <= int(port) <= 65535:
        raise wrong(f"the port of {address} isn't from 1 to 65535")


def _slurm(environment: Mapping[str, str]) -> Topology:
    """The tasks of the srun step that this process is one of.

    Variables of the job aren't asked where the step has its own: a step may use a part of the job.
    """
    if "SLURM_STEP_NUM_TASKS" not in environment or "SLURM_PROCID" not in environment:
        asked = _number(environment, "SLURM_NTASKS", 1)
        nodes = _number(environment, "SLURM_JOB_NUM_NODES", 1)
        note = "In a SLURM allocation but not started by srun: this process alone."
        return Topology(source="slurm", note=note if max(asked, nodes) > 1 else "")
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS")
    if tasks == 1:
        return Topology(source="slurm")
    rank = _number(environment, "SLURM_PROCID")
    suffix = environment.get("MNIST_DIST_HOST_SUFFIX", "")
    by_rank = [host + suffix for host in _slurm_hosts(environment, tasks, rank)]
    job = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '0')}"
    job += f"-{environment.get('SLURM_RESTART_COUNT', '0')}"  # a requeued job keeps its number
    spread = LAST_PORT - FIRST_PORT - tasks * SLURM_CANDIDATES
    if spread < 1:
        raise UsageError(f"SLURM: {tasks} tasks are more than there are ports; give fewer")
    first = FIRST_PORT + zlib.crc32(job.encode()) % spread
    workers = tuple(f"{host}:{first + number}" for number, host in enumerate(by_rank))
    return Topology(workers, rank, "slurm", f"slurm-{job}", SLURM_CANDIDATES)


def _slurm_hosts(environment: Mapping[str, str], tasks: int, rank: int) -> list[str]:
    """The host of each rank, as srun laid them out.

    SLURM tells a task its own node and the ranks there (SLURM_GTIDS), not the others': these are
    worked out from the distribution, and checked against what is told.
    """
    listed = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    hosts, node = expand_hostlist(listed), _number(environment, "SLURM_NODEID")
    told = environment.get("MNIST_DIST_HOSTS", "")
    distribution = environment.get("SLURM_DISTRIBUTION", "block").partition(":")[0]
    if told:
        by_rank = expand_hostlist(told)
    elif distribution == "arbitrary":
        raise UsageError(
            "SLURM: with --distribution=arbitrary no task can know the others' hosts; list the "
            'host of each task: export MNIST_DIST_HOSTS="$(paste -sd, "$SLURM_HOSTFILE")"'
        )
    else:
        turn = {"cyclic": "1", "plane": environment.get("SLURM_DIST_PLANESIZE", "")}
        size = turn.get(distribution, str(tasks))
        counts = _counts(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
        fits = size.isdigit() and int(size) > 0 and len(counts) == len(hosts)
        by_rank = [hosts[place] for place in _places(counts, int(size))] if fits else []
    here = hosts[node] if node < len(hosts) else ""
    ranks_here = [str(number) for number, host in enumerate(by_rank) if host == here]
    told_here = environment.get("SLURM_GTIDS", ",".join(ranks_here)).split(",")
    if len(by_rank) != tasks or ranks_here != told_here or str(rank) not in ranks_here:
        raise _unclear(environment, f"task {rank} of {tasks} is on node {node}")
    return by_rank


def _unclear(environment: Mapping[str, str], what: str) -> UsageError:
    names = ("STEP_NODELIST", "STEP_TASKS_PER_NODE", "DISTRIBUTION", "DIST_PLANESIZE", "GTIDS")
    values = [f"SLURM_{name}={environment.get('SLURM_' + name, '')}" for name in names]
    values.append(f"MNIST_DIST_HOSTS={environment.get('MNIST_DIST_HOSTS', '')}")
    return UsageError(
        f"SLURM: {what}, which doesn't fit {', '.join(v for v in values if v[-1] != '=')}; "
        "set MNIST_DIST_HOSTS to the host of each task, or give --cluster=none to train alone"
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name, "" if default is None else str(default))
    if not value.isdigit():
        raise UsageError(f"{name}={value or '(not set)'} isn't a number; start with srun")
    return int(value)


def _counts(text: str) -> list[int]:
    """`2(x3),1` as 2, 2, 2, 1."""
    counts: list[int] = []
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(number)] * int(times or 1)
    return counts


def _places(counts: Sequence[int], turn: int) -> list[int]:
    """The node of each rank, when nodes with `counts` tasks get up to `turn` of them in turn."""
    left, places = list(counts), list[int]()
    while any(left):
        for node, count in enumerate(left):
            taken = min(turn, count)
            places += [node] * taken
            left[node] -= taken
    return places
