"""Chooses how numbers are computed: precision, layout, TensorFlow's kernels or XLA's programs."""

from typing import Literal

from mnist_dist.config import Config
from mnist_dist.devices.arithmetic import Arithmetic, compiled, settle
from mnist_dist.devices.strategy import Devices
from mnist_dist.errors import UsageError


def arithmetic(config: Config, devices: Devices) -> Arithmetic:
    """Sets TensorFlow to the flags' precision, layout and kernels, and says what they are.

    Raises:
        UsageError: a precision or a layout that these devices can't train with.
    """
    # A user's own network is computed in channels_last by TensorFlow's kernels.
    layout = "channels_last" if config.network else config.data_format
    xla = compiled(
        "off" if config.network else config.xla,
        config.precision,
        devices.kind,
        devices.strategy.num_replicas_in_sync,
        layout,
        bool(config.shards or config.eager),
    )
    return settle(
        config.precision,
        layout,
        devices.capability,
        config.eager,
        config.nondeterministic,
        xla,
    )


def compiled_as(
    config: Config, computed: Arithmetic, replicas: int
) -> Literal["", "block", "parts"]:
    """What XLA compiles (see `Settings.xla`).

    Raises:
        UsageError: digests or checks, which would change the bits of a block's program.
    """
    if not computed.xla:
        return ""
    if replicas > 1 or config.shards:
        return "parts"
    for name in ("digest_every_steps", "check_every_steps"):
        if getattr(config, name):
            raise UsageError(
                f"--{name}={getattr(config, name)} with XLA on a single replica, whose fused "
                "operations would change with it, and so the bits; give --xla=off"
            )
    return "block"


def xla_note(config: Config, devices: Devices) -> str:
    """A line for the log if --xla=auto leaves the steps of several GPUs uncompiled; else empty."""
    replicas = devices.strategy.num_replicas_in_sync
    if config.xla != "auto" or devices.kind != "gpu" or replicas == 1:
        return ""
    if config.batch_norm:
        return "--xla=auto: off, since --batch_norm sums batch statistics over the replicas."
    return "--xla=auto: off, since XLA with several GPUs hasn't been timed; --xla=on compiles them."
