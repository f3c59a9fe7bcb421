"""The log's first lines: what runs on what."""

from collections.abc import Iterator

from mnist_dist.cluster.session import Session
from mnist_dist.devices import nvidia, resources
from mnist_dist.devices.arithmetic import Arithmetic


def head(session: Session, arithmetic: Arithmetic, why: str, source: str) -> Iterator[str]:
    """Devices, replicas, cores, memory, data, and what was chosen for "auto".

    Args:
        session: this worker among all.
        arithmetic: what is computed in.
        why: how --precision=auto was decided; empty where it wasn't.
        source: where the data comes from.
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
    if devices.kind == "gpu":
        yield from _cards(devices.names, arithmetic.deterministic)
    yield f"Data: {source}."
    yield from (note for note in (topology.note, *devices.notes, why) if note)


def _cards(names: tuple[str, ...], deterministic: bool) -> Iterator[str]:
    """The GPUs as NVIDIA's library sees them, and whether their sums are the same twice."""
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
