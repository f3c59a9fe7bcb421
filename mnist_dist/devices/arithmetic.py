"""How numbers are computed: precision, layout, and kernels that give the same bits twice."""

from typing import NamedTuple, TypeAlias

import tensorflow as tf

from mnist_dist.devices import tensorflow_private
from mnist_dist.errors import UsageError

Capability: TypeAlias = tuple[int, int] | None
"""NVIDIA's compute capability of a GPU, such as (9, 0); None on a CPU."""

TF32 = (8, 0)  # the first capability with tf32 and bfloat16


class Arithmetic(NamedTuple):
    """Precision, layout and kernels of a run.

    Attributes:
        precision: float32, tf32, mixed_bfloat16, mixed_float16 or float64; never "auto".
        channels_first: the layout of images inside the network.
        deterministic: whether the same command gives the same bits each time.
        xla: whether XLA compiles the steps.
    """

    precision: str
    channels_first: bool
    deterministic: bool
    xla: bool = False

    @property
    def layers(self) -> str:
        """Keras's name of the layers' precision; tf32 is float32 multiplied by tensor cores."""
        return "float32" if self.precision == "tf32" else self.precision

    @property
    def layout(self) -> str:
        """The name of the layout."""
        return "channels_first" if self.channels_first else "channels_last"


def candidates(capability: Capability) -> tuple[str, ...]:
    """The precisions that --precision=auto measures; the first, float32, is the reference."""
    if capability is None:
        return "float32", "mixed_bfloat16"
    if capability >= TF32:
        return "float32", "tf32", "mixed_bfloat16"
    return ("float32", "mixed_float16") if capability >= (7, 0) else ("float32",)


def settle(  # noqa: PLR0913
    precision: str,
    data_format: str,
    capability: Capability,
    eager: bool,
    nondeterministic: bool,
    xla: bool = False,
) -> Arithmetic:
    """Sets TensorFlow's arithmetic to that of the flags.

    Args:
        precision: as in Arithmetic.
        data_format: --data_format.
        capability: of the GPUs.
        eager: run without a graph; some layouts need one.
        nondeterministic: allow faster kernels on GPUs, whose sums have no fixed order.
        xla: compile the steps by XLA, in channels_last.

    Raises:
        UsageError: a precision or a layout that these devices can't train with.
    """
    check(precision, data_format, capability, eager)
    on_gpu = capability is not None
    # By default, TensorFlow multiplies float32 in tf32 on GPUs, with 10 bits of mantissa.
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    channels_first = data_format == "channels_first"
    if data_format == "auto":
        channels_first = on_gpu and not xla
    deterministic = not (on_gpu and nondeterministic)
    return Arithmetic(precision, channels_first, deterministic, xla)


def compiled(  # noqa: PLR0913
    wanted: str, precision: str, kind: str, replicas: int, data_format: str, fixed: bool
) -> bool:
    """Whether XLA compiles the steps.

    Args:
        wanted: --xla.
        precision: as in Arithmetic; XLA's products in tf32 are many times slower.
        kind: kind of device, cpu or gpu.
        replicas: over all workers.
        data_format: --data_format.
        fixed: steps are computed in fixed shards, or without a graph.
    """
    if wanted == "auto":
        fits = replicas == 1 and not fixed and data_format != "channels_first"
        return kind == "gpu" and fits and precision != "tf32"
    return wanted == "on"


def make_deterministic(capability: Capability, nondeterministic: bool) -> None:
    """Makes TensorFlow use deterministic kernels on a GPU; call it before anything runs.

    Kernels on a CPU are deterministic anyway.
    """
    if capability is not None and not nondeterministic:
        tf.config.experimental.enable_op_determinism()
    else:
        tensorflow_private.disable_op_determinism()


def check(precision: str, data_format: str, capability: Capability, eager: bool) -> None:
    """Raises UsageError for a precision or layout that these devices can't train with."""
    if precision == "tf32" and capability is None:
        raise UsageError(
            "--precision=tf32 needs an NVIDIA GPU and these replicas are on the CPU; give float32"
        )
    if precision == "tf32" and capability is not None and capability < TF32:
        raise UsageError(
            "--precision=tf32 needs compute capability 8.0, this GPU's is "
            f"{capability[0]}.{capability[1]}; give float32"
        )
    # On a CPU only oneDNN's kernels in a graph can train in this layout.
    for flag, given in (
        ("--eager", eager),
        (f"--precision={precision}", precision in ("float64", "mixed_float16")),
        ("TF_ENABLE_ONEDNN_OPTS=0", not tensorflow_private.has_onednn()),
    ):
        if data_format == "channels_first" and capability is None and given:
            raise UsageError(
                f"--data_format=channels_first with {flag}: TensorFlow has no such max-pool on a "
                "CPU; leave out one of the two"
            )


def capability(names: tuple[str, ...]) -> Capability:
    """The compute capability of this worker's first device."""
    if names[0].startswith("/cpu"):
        return None
    gpu = tf.config.get_visible_devices("GPU")[0]
    return tf.config.experimental.get_device_details(gpu)["compute_capability"]
