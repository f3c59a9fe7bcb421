"""All uses of TensorFlow's private API, each with the reason; TensorFlow has no public way.

tests/process/devices/test_private_api.py fails if an update of TensorFlow takes one away.
"""

import contextlib
import functools
from collections.abc import Iterator

from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context
from tensorflow.python.framework import config
from tensorflow.python.util import _pywrap_util_port


def has_onednn() -> bool:
    """Whether TensorFlow computes by oneDNN's kernels in this process."""
    return bool(_pywrap_util_port.IsMklEnabled())


def disable_op_determinism() -> None:
    """Undoes tf.config.experimental.enable_op_determinism, for the next run of this process."""
    config.disable_op_determinism()


def is_initialized() -> bool:
    """Whether TensorFlow is set up in this process, which then can't become a worker."""
    return bool(context.context()._initialized)  # noqa: SLF001


def is_worker() -> bool:
    """Whether this process's TensorFlow is one of several workers."""
    return context.context()._collective_ops_server_def is not None  # noqa: SLF001


def set_heartbeat_timeout(timeout_s: float) -> None:
    """Sets how long TensorFlow's own heartbeat waits for a worker, in place of 10 s."""
    own = context.context()
    own.configure_coordination_service = functools.partial(
        own.configure_coordination_service, heartbeat_timeout_in_ms=int(1000 * timeout_s)
    )


@contextlib.contextmanager
def local_cpu_devices(number: int) -> Iterator[None]:
    """Makes MultiWorkerMirroredStrategy use `number` logical CPU devices of a worker; 0: one."""
    own = CollectiveAllReduceExtended._initialize_local_devices  # noqa: SLF001
    if number:
        CollectiveAllReduceExtended._initialize_local_devices = lambda _, _resolver, worker: (  # noqa: SLF001
            tuple(f"{worker}/device:CPU:{index}" for index in range(number)),
            "CPU",
        )
    try:
        yield
    finally:
        CollectiveAllReduceExtended._initialize_local_devices = own  # noqa: SLF001
