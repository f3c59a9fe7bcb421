"""Who runs where: a pure function of the environment a process was started in.

TensorFlow's SlurmClusterResolver isn't used: it sorts the hosts, so that ranks and hosts part;
it knows one bracket in a host list; all its jobs take port 8888; it overwrites
CUDA_VISIBLE_DEVICES.
"""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from mnist_dist import bounded
from mnist_dist.cluster import slurm
from mnist_dist.cluster.address import join, split
from mnist_dist.cluster.hostlist import MOST_HOSTS
from mnist_dist.errors import UsageError, shorten

FIRST_PORT, LAST_PORT = 15000, 32000  # below the ports that Linux gives to outgoing connections
SLURM_CANDIDATES = 8
TOKEN = "MNIST_DIST_TOKEN"  # noqa: S105 -- the variable's name


@dataclasses.dataclass(frozen=True)
class Topology:
    """The workers of one run, as this process sees them.

    Attributes:
        workers: "host:port" by rank, the first candidate of each; empty for a process alone.
        rank: this process's number.
        source: "none", "tf_config" or "slurm".
        token: names the run, and is its secret where MNIST_DIST_TOKEN is set: a worker must know
            it to be let in.
        port_candidates: how many ports a worker may try, in steps of the number of workers.
        note: one line for the log, if there is something to say.
    """

    workers: tuple[str, ...] = ()
    rank: int = 0
    source: str = "none"
    token: str = dataclasses.field(default="", repr=False)
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
        return split(self.workers[self.rank])[0] if self.workers else ""

    @property
    def port(self) -> int:
        """This worker's first port; 0 for a process alone."""
        return split(self.workers[self.rank])[1] if self.workers else 0


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
        return _tf_config(environment["TF_CONFIG"], environment.get(TOKEN, ""))
    if "SLURM_JOB_ID" in environment:
        return _slurm(environment)
    return Topology()


def _tf_config(text: str, secret: str) -> Topology:
    """TensorFlow's own way: a cluster of workers (and maybe a chief), and this process's task."""

    def wrong(what: str) -> UsageError:
        form = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        return UsageError(f"TF_CONFIG: {what}; it has the form {form}")

    try:
        config = bounded.loads(text)
    except ValueError as error:
        raise wrong(f"not JSON ({shorten(str(error))})") from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster"), dict):
        raise wrong("no 'cluster' with lists of addresses")
    cluster, task = config["cluster"], config.get("task")
    if not isinstance(task, dict):
        raise wrong("no 'task' with type and index")
    unknown = sorted({*cluster, str(task.get("type"))} - {"chief", "worker"})
    if unknown:
        kind = shorten(unknown[0])
        raise wrong(f"'{kind}' is no kind of task here, allowed are chief and worker")
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses:
            raise wrong(f"'{kind}' must be a list of addresses, it is {_shown(addresses)}")
        if len(addresses) > MOST_HOSTS:
            raise wrong(f"'{kind}' has more than {MOST_HOSTS:,} addresses")
    if len(cluster.get("chief", [])) > 1:
        raise wrong("more than one chief")
    workers = cluster.get("chief", []) + cluster.get("worker", [])
    seen = set()
    for address in workers:
        try:
            here = split(address if isinstance(address, str) else "")
        except ValueError as error:
            raise wrong(f"the address {_shown(address)} {error}") from error
        if here in seen:
            raise wrong(f"the address {address} stands there twice")
        seen.add(here)
    index, kind = task.get("index"), task["type"]
    size = len(cluster.get(kind, []))
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
        raise wrong(f"task index {_shown(index)}, but the cluster has {size} of type '{kind}'")
    if len(workers) == 1:
        return Topology(source="tf_config", note="TF_CONFIG names one worker: this process alone.")
    rank = index + (len(cluster.get("chief", [])) if kind == "worker" else 0)
    token = _token("tf_config", json.dumps(workers), secret)
    return Topology(tuple(workers), rank, "tf_config", token)


def _shown(value: Any) -> str:
    """A JSON value in a message."""
    return shorten(json.dumps(value))


def _slurm(environment: Mapping[str, str]) -> Topology:
    """The tasks of the srun step that this process is one of.

    Variables of the job aren't asked where the step has its own: a step may use a part of the job.
    """
    if "SLURM_STEP_NUM_TASKS" not in environment or "SLURM_PROCID" not in environment:
        asked = slurm.number(environment, "SLURM_NTASKS", 1)
        nodes = slurm.number(environment, "SLURM_JOB_NUM_NODES", 1)
        note = "In a SLURM allocation but not started by srun: this process alone."
        return Topology(source="slurm", note=note if max(asked, nodes) > 1 else "")
    tasks = slurm.number(environment, "SLURM_STEP_NUM_TASKS")
    if tasks == 1:
        return Topology(source="slurm")
    rank = slurm.number(environment, "SLURM_PROCID")
    suffix = environment.get("MNIST_DIST_HOST_SUFFIX", "")
    by_rank = [host + suffix for host in slurm.hosts(environment, tasks, rank)]
    job = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '0')}"
    job += f"-{environment.get('SLURM_RESTART_COUNT', '0')}"  # a requeued job keeps its number
    # Without a token this much is known to the job's owner and to who can guess two port numbers.
    secret = environment.get(TOKEN) or environment.get("SLURM_SRUN_COMM_PORT", "")
    spread = LAST_PORT - FIRST_PORT - tasks * SLURM_CANDIDATES
    if spread < 1:
        raise UsageError(f"SLURM: {tasks} tasks are more than there are ports; give fewer")
    first = FIRST_PORT + zlib.crc32(_bytes(job)) % spread
    workers = tuple(join(host, first + number) for number, host in enumerate(by_rank))
    for worker in workers:
        try:
            split(worker)
        except ValueError as error:
            raise UsageError(f"SLURM: the host '{shorten(worker)}' {error}") from error
    return Topology(workers, rank, "slurm", _token("slurm", job, secret), SLURM_CANDIDATES)


def _token(*parts: str) -> str:
    """What a worker shows to be let in: of one length, and the secret can't be read from it."""
    return hashlib.sha256(b"\0".join(map(_bytes, parts))).hexdigest()


def _bytes(text: str) -> bytes:
    """A variable's text, which Python gives lone surrogates for what isn't UTF-8."""
    return text.encode("utf-8", "surrogateescape")
