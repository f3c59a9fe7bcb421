"""The first lines of the log: devices, replicas, memory, precision and data."""

from collections.abc import Iterator

from mnist_dist.cluster.session import Session
from mnist_dist.devices import nvidia, resources
from mnist_dist.devices.arithmetic import Arithmetic
from mnist_dist.training.reduce_plan import ReducePlan


def lines(
    session: Session, arithmetic: Arithmetic, sent: ReducePlan, source: str, *why: str
) -> Iterator[str]:
    """Yields the lines: devices, replicas, cores, memory, data, and the choices for "auto".

    Args:
        session: this worker's session.
        arithmetic: precision, layout and kernels.
        sent: what is sent to sum the gradients.
        source: the data's origin.
        *why: how flags that are "auto" were decided; empty for others.
    """
    devices, topology = session.devices, session.topology
    yield f"Using device {','.join(devices.names)}, and data format {arithmetic.layout}."
    used = resources.used()
    yield (
        f"Replicas: {session.placement.replicas} over {topology.num_workers} worker(s); "
        f"{used['cores']} of {used['machine_cores']} cores of {used['hostname']}, "
        f"{used['cpu_percent']:.0f} % CPU and {used['peak_memory_bytes'] / 2**20:.0f} MiB so far; "
        f"precision {arithmetic.precision}{', compiled by XLA' if arithmetic.xla else ''}."
    )
    if session.placement.replicas > 1:
        yield sent.line
    if devices.kind == "gpu":
        yield from _cards(devices.names, arithmetic.deterministic)
    yield f"Data: {source}."
    yield from (note for note in (topology.note, *devices.notes, *why) if note)


def _cards(names: tuple[str, ...], deterministic: bool) -> Iterator[str]:
    """The GPUs' memory and load by NVIDIA's library, and whether results are deterministic."""
    for card in nvidia.cards()[: len(names)]:
        busy = card.utilisation_percent
        yield (
            f"{card.name}: {card.used_bytes / 2**20:,.0f} of {card.memory_bytes / 2**20:,.0f} MiB "
            f"in use{'' if busy is None else f', {busy} % busy'}."
        )
    yield (
        "Deterministic: the same command gives the same bits on this GPU; --nondeterministic is "
        "faster."
        if deterministic
        else "Not deterministic: two runs of this command differ, and a resumed one, too."
    )
