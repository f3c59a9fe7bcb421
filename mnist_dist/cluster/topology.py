"""Who runs where: a pure function of the environment a process was started in.

TensorFlow's SlurmClusterResolver isn't used: it sorts the hosts, so that ranks and hosts part;
it knows one bracket in a host list; all its jobs take port 8888; it overwrites
CUDA_VISIBLE_DEVICES.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

from mnist_dist.bounded import whole_number
from mnist_dist.cluster import launched, slurm, tf_config
from mnist_dist.cluster.address import CANDIDATES, join, split
from mnist_dist.errors import UsageError, shorten

MOST_ADDRESSES = 16  # in MASTER_ADDR
TOKEN = "MNIST_DIST_TOKEN"  # noqa: S105 -- the variable's name


@dataclasses.dataclass(frozen=True)
class Topology:
    """The workers of one run, as this process sees them.

    Attributes:
        workers: "host:port" by rank, the first candidate of each; "" where it becomes known only
            when they meet. Empty for a process alone.
        rank: this process's number.
        source: "none", or the value of --cluster that says the same.
        token: names the run, and is its secret where MNIST_DIST_TOKEN is set: a worker must know
            it to be let in. Where no address is known, only names one start of the run.
        port_candidates: how many ports a worker may try.
        port_step: between them; 0 for the number of workers.
        chief_hosts: further names or addresses of worker 0's host.
        local_rank: this worker's number on its host; None where the starter doesn't say.
        note: one line for the log, if there is something to say.
    """

    workers: tuple[str, ...] = ()
    rank: int = 0
    source: str = "none"
    token: str = dataclasses.field(default="", repr=False)
    port_candidates: int = 1
    port_step: int = 0
    chief_hosts: tuple[str, ...] = ()
    local_rank: int | None = None
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
        """This worker's host name; empty for a process alone, or if it isn't known yet."""
        return self._own[0]

    @property
    def port(self) -> int:
        """This worker's first port; 0 for a process alone, or if it isn't known yet."""
        return self._own[1]

    @property
    def addresses_known(self) -> bool:
        """Whether every worker was started with the addresses of all."""
        return all(self.workers)

    @property
    def meets_by_file(self) -> bool:
        """Whether worker 0's address is known only by a file that it writes."""
        return bool(self.workers) and not self.workers[0]

    def worker_name(self, rank: int) -> str:
        """A worker's name for messages, with its address if that is known."""
        address = self.workers[rank]
        return f"worker {rank} ({address})" if address else f"worker {rank}"

    @property
    def _own(self) -> tuple[str, int]:
        own = self.workers[self.rank] if self.workers else ""
        return split(own) if own else ("", 0)


def from_environment(environment: Mapping[str, str], cluster: str = "auto") -> Topology:
    """Reads the workers from the variables of whatever has started this process.

    With "auto" the first of these that says there are several processes is taken: TF_CONFIG; Open
    MPI, PMI, Flux, RANK and WORLD_SIZE, and Kubernetes; srun. srun comes before PMI and RANK if
    they say the same as its step, and if srun or a user can have set them: srun sets PMI_RANK,
    users often RANK. mpirun has its daemons started by srun, so its processes inherit the
    variables of a step in which the daemons are the tasks; some of them may say the same as
    mpirun's by chance.

    Args:
        environment: such as os.environ.
        cluster: "none" is this process alone; any other value but "auto" insists on one starter.

    Raises:
        UsageError: a variable that is malformed or missing, or two starters that say different
            things.
    """
    if cluster == "none":
        return Topology()
    if cluster == "tf_config" and not environment.get("TF_CONFIG"):
        raise UsageError("--cluster=tf_config: TF_CONFIG isn't set; set it in each process")
    if cluster == "slurm" and "SLURM_JOB_ID" not in environment:
        raise UsageError("--cluster=slurm: SLURM_JOB_ID isn't set; start with sbatch or srun")
    if environment.get("TF_CONFIG") and cluster in ("auto", "tf_config"):
        return _tf_config(environment["TF_CONFIG"], environment.get(TOKEN, ""))
    if cluster != "slurm":
        found = launched.places(environment, cluster)
        if cluster != "auto" and not found:
            names = [s for s in launched.STARTERS if s.cluster == cluster]
            wanted = " or ".join(f"{s.rank} and {s.size}" for s in names)
            raise UsageError(f"--cluster={cluster}: {wanted} aren't set; set them in each process")
        place = (
            None
            if cluster == "auto" and _set_for_srun(found, environment)
            else (launched.chosen(found))
        )
        if place is not None:
            return _launched(place, environment)
        if cluster != "auto":
            return Topology(source=cluster)
    if "SLURM_JOB_ID" in environment:
        return _slurm(environment)
    return Topology()


def _set_for_srun(found: Sequence[launched.Place], environment: Mapping[str, str]) -> bool:
    """Whether the starters' variables were set by srun or a user, to what srun's step says."""
    step = environment.get("SLURM_PROCID", ""), environment.get("SLURM_STEP_NUM_TASKS", "")
    several = [place for place in found if place.size > 1]
    given = {(str(place.rank), str(place.size)) for place in several}
    proven = any(place.proven for place in several)
    return "SLURM_JOB_ID" in environment and given == {step} and not proven


def _launched(place: launched.Place, environment: Mapping[str, str]) -> Topology:
    """The tasks of a starter that lists no hosts.

    They find worker 0 by MASTER_ADDR and MASTER_PORT, or else by a file.
    """
    cluster = place.starter.cluster
    unknown = ("",) * (place.size - 1)
    hosts = [host.strip() for host in environment.get("MASTER_ADDR", "").split(",")]
    port = environment.get("MASTER_PORT", "")
    if not (any(hosts) and port):
        attempt = _token(cluster, str(place.size), place.attempt)
        return Topology(("", *unknown), place.rank, cluster, attempt, local_rank=place.local_rank)
    number = whole_number(port, 65535)
    if not number or len(hosts) > MOST_ADDRESSES:
        raise UsageError(
            f"MASTER_PORT={shorten(port)}: give a port from 1 to 65535, and in MASTER_ADDR at most "
            f"{MOST_ADDRESSES} addresses of one host"
        )
    for host in hosts:
        try:
            split(join(host, number))
        except ValueError as error:
            raise UsageError(f"MASTER_ADDR={shorten(host)}: the address {error}") from error
    return Topology(
        (join(hosts[0], number), *unknown),
        place.rank,
        cluster,
        _token(cluster, *hosts, port, place.attempt, environment.get(TOKEN, "")),
        min(CANDIDATES, 65536 - number),  # torchrun itself listens on MASTER_PORT
        port_step=1,
        chief_hosts=tuple(hosts[1:]),
        local_rank=place.local_rank,
    )


def _tf_config(text: str, secret: str) -> Topology:
    """The workers of TF_CONFIG; a single one is this process alone."""
    workers, rank = tf_config.parse(text)
    if len(workers) == 1:
        return Topology(source="tf_config", note="TF_CONFIG names one worker: this process alone.")
    token = _token("tf_config", json.dumps(workers), secret)
    return Topology(workers, rank, "tf_config", token)


def _slurm(environment: Mapping[str, str]) -> Topology:
    """The tasks of the srun step that this process is one of."""
    if not slurm.in_step(environment):
        asked = slurm.number(environment, "SLURM_NTASKS", 1)
        nodes = slurm.number(environment, "SLURM_JOB_NUM_NODES", 1)
        note = "In a SLURM allocation but not started by srun: this process alone."
        return Topology(source="slurm", note=note if max(asked, nodes) > 1 else "")
    step = slurm.step(environment)
    if step is None:
        return Topology(source="slurm")
    # Without a token this much is known to the job's owner and to who can guess two port numbers.
    secret = environment.get(TOKEN) or environment.get("SLURM_SRUN_COMM_PORT", "")
    token = _token("slurm", step.name, secret)
    return Topology(step.workers, step.rank, "slurm", token, CANDIDATES, step.tasks_per_host)


def _token(*parts: str) -> str:
    """What a worker shows to be let in: of one length, and the secret can't be read from it."""
    return hashlib.sha256(b"\0".join(map(_bytes, parts))).hexdigest()


def _bytes(text: str) -> bytes:
    """A variable's text, which Python gives lone surrogates for what isn't UTF-8."""
    return text.encode("utf-8", "surrogateescape")
