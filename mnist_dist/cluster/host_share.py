"""How the workers of one host divide its cores and GPUs, where their starter hasn't done so.

mpirun, torchrun and PBS may start several processes on a host, each of which sees all GPUs and all
cores. The workers tell each other what they see, and each takes its part: no GPU is used twice.
"""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_dist.bounded import whole_number
from mnist_dist.cluster.liveness import Meeting
from mnist_dist.cluster.topology import Topology
from mnist_dist.devices import nvidia, resources
from mnist_dist.errors import RunError, UsageError

BOOT = Path("/proc/sys/kernel/random/boot_id")  # tells hosts of the same name apart
TIMEOUT_S = 60.0


class Seen(NamedTuple):
    """What a worker sees of its host.

    Attributes:
        host: its name and boot.
        local_rank: its number there; None if its starter doesn't say.
        cores: that it may use.
        gpus: UUIDs of the GPUs that it may use; empty with --no_gpu.
    """

    host: str
    local_rank: int | None
    cores: list[int]
    gpus: list[str]


class Share(NamedTuple):
    """A worker's part of its host.

    Attributes:
        local_rank: its number among the workers of its host.
        local_size: how many these are.
        cores: for this worker; empty if it keeps those that it has.
        gpus: positions in `Seen.gpus`; None if it keeps all of them.
    """

    local_rank: int = 0
    local_size: int = 1
    cores: tuple[int, ...] = ()
    gpus: tuple[int, ...] | None = None


def take(meeting: Meeting, topology: Topology, no_gpu: bool, gpus: str) -> tuple[Share, str]:
    """Agrees with the other workers of this host, and keeps this process on its cores.

    All workers call it, before TensorFlow starts its threads.

    Args:
        meeting: all workers.
        topology: the same.
        no_gpu: --no_gpu.
        gpus: --gpus.

    Returns:
        This worker's part, and --gpus for it.

    Raises:
        UsageError: there are fewer GPUs on a host than workers that use them.
        RunError: a worker gives no answer.
    """
    cards = [] if no_gpu else [card.uuid for card in nvidia.cards()]
    each = whole_number(gpus.strip(), len(cards)) or 0  # --gpus=2: two for each worker
    indices = range(len(cards)) if each or not cards else nvidia.chosen(gpus, len(cards))
    own = Seen(
        host=f"{socket.gethostname()} {BOOT.read_text().strip() if BOOT.exists() else ''}",
        local_rank=topology.local_rank,
        cores=sorted(resources.available_cores()),
        gpus=[cards[index] for index in indices],
    )
    values = meeting.gather(own._asdict(), TIMEOUT_S)
    try:
        everyone = [Seen(**value) for value in values]
        share = divide(topology.rank, everyone, each, divided=topology.addresses_known)
    except (TypeError, AttributeError) as error:
        raise RunError(f"worker {topology.rank}: a worker sent other facts of its host") from error
    if share.cores:
        resources.set_cores(set(share.cores))
    if share.gpus is None:
        return share, gpus
    return share, "".join(f"{indices[position]}," for position in share.gpus)


def divide(rank: int, everyone: Sequence[Seen], each: int = 0, divided: bool = False) -> Share:
    """Returns the part of one worker.

    Args:
        rank: the worker's.
        everyone: what each worker sees, by rank.
        each: the number of GPUs for a worker; 0 for as many as all of them can have.
        divided: whether a starter has given each worker its own, as SLURM and local.sh do.

    Raises:
        UsageError: there are fewer GPUs than workers that see them.
    """
    own = everyone[rank]
    here = [other for other, seen in enumerate(everyone) if seen.host == own.host]
    said = [everyone[other].local_rank for other in here]
    if None not in said and len(set(said)) == len(said):
        here.sort(key=lambda other: everyone[other].local_rank or 0)
    place = here.index(rank)
    if divided:
        return Share(place, len(here))
    same_cores = [other for other in here if everyone[other].cores == own.cores]
    cores: tuple[int, ...] = ()
    if len(same_cores) > 1:
        parts = resources.divide(set(own.cores), len(same_cores))
        cores = tuple(sorted(parts[same_cores.index(rank)]))
    same_gpus = [other for other in here if own.gpus and everyone[other].gpus == own.gpus]
    gpus = None
    if len(same_gpus) > 1:
        number = each or len(own.gpus) // len(same_gpus)
        if not number or number * len(same_gpus) > len(own.gpus):
            name = own.host.partition(" ")[0]
            raise UsageError(
                f"host {name}: {len(same_gpus)} workers and {len(own.gpus)} GPU(s), of which each "
                f"worker needs {max(number, 1)} of its own; start fewer workers there, or give "
                "--no_gpu"
            )
        first = same_gpus.index(rank) * number
        gpus = tuple(range(first, first + number))
    return Share(place, len(here), cores, gpus)
