"""MultiWorkerMirroredStrategy, with two things that it has no options for."""

import contextlib
import functools
import json
import os
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context

HEARTBEAT_S = 7 * 24 * 3600  # TensorFlow's; longer than a job is suspended


def build(
    workers: tuple[str, ...],
    rank: int,
    cpu_devices: int,
    options: tf.distribute.experimental.CommunicationOptions,
) -> tf.distribute.Strategy:
    """The strategy over all workers; waits for them to come.

    Args:
        workers: host:port of each by rank.
        rank: this worker's number.
        cpu_devices: logical CPU devices to use on each worker; 0 to use its GPUs.
        options: how the workers reduce.
    """
    cluster = {"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": rank}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)  # how TensorFlow is told
    _health_check(HEARTBEAT_S)
    with _cpu_devices(cpu_devices):
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def started() -> bool:
    """Whether this process's TensorFlow is set up, so that it can't become a worker any more."""
    return context.context()._initialized  # noqa: SLF001


def joined() -> bool:
    """Whether this process's TensorFlow is one of several workers'."""
    return context.context()._collective_ops_server_def is not None  # noqa: SLF001


def _health_check(timeout_s: float) -> None:
    """Has TensorFlow's own heartbeat wait that long for a worker's, and not 10 s.

    So --peer_timeout is what counts, and ours names who is lost, and takes no suspension of all
    for a loss. TensorFlow doesn't tell worker 0 that a worker ends: on a busy machine 10 s are over
    before worker 0 has ended, too, and a good run would close with an error.
    """
    mine = context.context()
    mine.configure_coordination_service = functools.partial(
        mine.configure_coordination_service, heartbeat_timeout_in_ms=int(1000 * timeout_s)
    )


@contextlib.contextmanager
def _cpu_devices(number: int) -> Iterator[None]:
    """Has the strategy use that many logical CPU devices of a worker, if not 0.

    TensorFlow's own takes one CPU device a worker; with more, a laptop can try out what a node
    with several GPUs does.
    """
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
