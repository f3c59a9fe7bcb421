"""MultiWorkerMirroredStrategy over this run's workers."""

import json
import os

import tensorflow as tf

from mnist_dist.devices import tensorflow_private

HEARTBEAT_S = 7 * 24 * 3600  # TensorFlow's; longer than a job is suspended


def build(
    workers: tuple[str, ...],
    rank: int,
    cpu_devices: int,
    options: tf.distribute.experimental.CommunicationOptions,
) -> tf.distribute.Strategy:
    """Builds the strategy over all workers; waits until all have joined.

    TensorFlow's own heartbeat is switched off in effect: --peer_timeout decides when a worker is
    lost, names it, and doesn't mistake a suspended job for a loss. With TensorFlow's 10 s a good
    run on a busy machine could end with an error, since worker 0 isn't told that a worker ends.

    Args:
        workers: host:port of each by rank.
        rank: this worker's number.
        cpu_devices: logical CPU devices to use on each worker, so that a laptop can try out a node
            with several GPUs; 0 to use its GPUs.
        options: how the workers reduce.
    """
    cluster = {"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": rank}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)  # TensorFlow reads the cluster there
    tensorflow_private.set_heartbeat_timeout(HEARTBEAT_S)
    with tensorflow_private.local_cpu_devices(cpu_devices):
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
