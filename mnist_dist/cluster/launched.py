"""The rank and number of tasks that a starter other than srun gives to each of its processes.

They are read from the variables of Open MPI, PMI (MPICH, Intel MPI), Flux, torchrun and Kubeflow
(RANK and WORLD_SIZE), and of an indexed job of Kubernetes. None of these lists the hosts.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mnist_dist.bounded import whole_number
from mnist_dist.errors import UsageError, shorten

MOST_TASKS = 2**20
NUM_WORKERS = "MNIST_DIST_NUM_WORKERS"
"""Kubernetes doesn't tell a pod the number of completions, so the user does in this variable."""


class Starter(NamedTuple):
    """The variables of one starter.

    Attributes:
        cluster: the value of --cluster that insists on it.
        name: for messages.
        rank: variable of the process's number.
        size: variable of the number of processes.
        local_rank: variable of its number on this host; empty if there is none.
        mark: variable that neither srun nor a user sets, so that it proves this starter.
        attempt: variables that together differ between two starts of a run.
    """

    cluster: str
    name: str
    rank: str
    size: str
    local_rank: str
    mark: str
    attempt: tuple[str, ...] = ()


KUBERNETES = Starter(
    "kubernetes", "Kubernetes", "JOB_COMPLETION_INDEX", NUM_WORKERS, "", "JOB_COMPLETION_INDEX"
)
STARTERS = (
    Starter(
        "mpi",
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    ),
    Starter("mpi", "PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALRANKID"),
    Starter(
        "flux",
        "Flux",
        "FLUX_TASK_RANK",
        "FLUX_JOB_SIZE",
        "FLUX_TASK_LOCAL_ID",
        "FLUX_JOB_SIZE",
        ("FLUX_JOB_ID",),
    ),
    Starter(
        "rank",
        "RANK and WORLD_SIZE",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "TORCHELASTIC_RUN_ID",
        ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    ),
    KUBERNETES,
)
"""In the order in which they are asked."""


class Place(NamedTuple):
    """This process among those that were started with it.

    Attributes:
        starter: whose variables were read.
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on this host; None if the starter doesn't say.
        attempt: differs between two starts of a run; empty if the starter has no such variable.
        proven: whether the starter itself has set the variables, and not srun or a user.
    """

    starter: Starter
    rank: int
    size: int
    local_rank: int | None
    attempt: str
    proven: bool


def places(environment: Mapping[str, str], cluster: str = "auto") -> list[Place]:
    """Returns what each starter says that has set its variables.

    Args:
        environment: such as os.environ.
        cluster: a value of --cluster; "auto" asks every starter.

    Raises:
        UsageError: a number that is missing or malformed.
    """
    asked = [starter for starter in STARTERS if cluster in ("auto", starter.cluster)]
    found = [place for starter in asked if (place := _place(starter, environment)) is not None]
    index = environment.get(KUBERNETES.rank)
    if index and KUBERNETES in asked and not found:
        raise UsageError(
            f"{KUBERNETES.rank}={shorten(index)} is that of an indexed job of Kubernetes: set "
            f"{NUM_WORKERS} in the pod's template to the job's completions, or give "
            "--cluster=none to train alone in each pod"
        )
    return found


def _place(starter: Starter, environment: Mapping[str, str]) -> Place | None:
    if not environment.get(starter.size):
        return None
    size = _number(starter.size, environment)
    if size == 1 and not environment.get(starter.rank):
        return None
    rank = _number(starter.rank, environment)
    if not 0 <= rank < size:
        raise UsageError(
            f"{starter.rank}={rank} isn't below {starter.size}={size}; start all processes with "
            "one command, or give --cluster=none to train alone"
        )
    local = None
    if environment.get(starter.local_rank):
        local = _number(starter.local_rank, environment)
    attempt = "/".join(environment.get(name, "") for name in starter.attempt).strip("/")
    return Place(starter, rank, size, local, attempt, bool(environment.get(starter.mark)))


def _number(name: str, environment: Mapping[str, str]) -> int:
    value = environment.get(name, "")
    number = whole_number(value, MOST_TASKS)
    if number is None:
        raise UsageError(
            f"{name}={shorten(value) or '(not set)'} isn't a number from 0 to {MOST_TASKS:,}; set "
            "it in each process, or give --cluster=none to train alone"
        )
    return number


def chosen(found: list[Place]) -> Place | None:
    """Returns the place of a process that has others beside it; None if no starter says so.

    Raises:
        UsageError: two starters say different things, so that neither can be trusted.
    """
    several = [place for place in found if place.size > 1]
    for other in several[1:]:
        first = several[0]
        if (first.rank, first.size) != (other.rank, other.size):
            raise UsageError(
                f"{first.starter.name} says task {first.rank} of {first.size}, "
                f"{other.starter.name} says task {other.rank} of {other.size}; choose with "
                f"--cluster={first.starter.cluster} or --cluster={other.starter.cluster}, or give "
                "--cluster=none to train alone"
            )
    return several[0] if several else None
