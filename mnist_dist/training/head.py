"""The log's first lines: what runs on what."""

from collections.abc import Iterator

from mnist_dist.cluster.session import Session
from mnist_dist.devices import resources


def head(session: Session, source: str) -> Iterator[str]:
    """Devices, replicas, cores, memory, data, and what was chosen for "auto".

    Args:
        session: this worker among all.
        source: where the data comes from.
    """
    devices, topology = session.devices, session.topology
    layout = "channels_first" if devices.channels_first else "channels_last"
    yield f"Using device {','.join(devices.names)}, and data format {layout}."
    used = resources.used()
    yield (
        f"Replicas: {session.placement.replicas} over {topology.num_workers} worker(s); "
        f"{used['cores']} of {used['machine_cores']} cores of {used['hostname']}, "
        f"{used['cpu_percent']:.0f} % CPU and {used['peak_memory_bytes'] / 2**20:.0f} MiB so far; "
        f"precision {devices.precision}."
    )
    yield f"Data: {source}."
    yield from (note for note in (topology.note, *devices.notes) if note)
