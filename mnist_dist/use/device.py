"""A run's network on a device of this machine, and the data to score it on."""

import contextlib
import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from mnist_dist import assembly, numerics
from mnist_dist.cluster import session
from mnist_dist.cluster.topology import Topology
from mnist_dist.data import sources
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.replica_placement import ReplicaPlacement
from mnist_dist.errors import UsageError
from mnist_dist.use.model import Model
from mnist_dist.use.origin import Origin


@contextlib.contextmanager
def on_device(
    run: Origin, no_gpu: bool, tta: bool = False
) -> Iterator[tuple[Model, ReplicaPlacement]]:
    """The run's network on one device of this machine: a GPU if there is one, else the CPU.

    Args:
        run: the checkpoint and its run.
        no_gpu: leave GPUs alone.
        tta: answer by the mean over several views of an image.
    """
    gpu = bool(tf.config.list_physical_devices("GPU")) and not no_gpu
    config = run.config
    # Layouts differ in rounding; some CPUs can't compute in the one that a GPU prefers.
    precision = run.saved.state["identity"]["precision"]  # never "auto"
    simple = run.network.precision in ("float32", "mixed_bfloat16")
    keeps_layout = gpu or (config.data_format == "channels_first" and simple)
    config = dataclasses.replace(
        config,
        no_gpu=not gpu,
        gpus="1" if gpu else "",
        virtual_devices=0,
        strategy="auto",
        collective="auto",
        data_format="auto",
        precision="float32" if precision == "tf32" and not gpu else precision,
    )
    with session.join(assembly.wanted(config), assembly.terms(config), Topology()) as joined:
        numerics.arithmetic(config, joined.devices)
        channels_first = run.network.channels_first and keeps_layout
        yield Model(run, channels_first, tta), joined.placement


def load_data(run: Origin, data_dir: str | None, dataset: str | None) -> ImageData:
    """The data to score on: the run's own, unless another set is named.

    Raises:
        UsageError: it can't be read, or the run's own data isn't there any more.
    """
    config = run.config
    if data_dir is None and dataset is None:
        found = sources.load(*config.data_flags)
        if found.fingerprint != run.data:
            raise UsageError(
                f"{found.source}: not what the run was trained on (another fingerprint); "
                "give --data_dir or --dataset to score it on this or that"
            )
        return found
    other = dataclasses.replace(config, data_dir=data_dir or config.data_dir, dataset=dataset or "")
    return sources.load(*other.data_flags)
