"""What decides the last bits of a run besides its flags: processor, kernels, TensorFlow."""

import tensorflow as tf

from mnist_dist.devices import tensorflow_private
from mnist_dist.devices.processor import CACHES, CPUINFO, processor
from mnist_dist.devices.startup_messages import one_dnn_settings


def arithmetic(device: str) -> dict[str, str]:
    """Describes what computes on a device such as "/gpu:0": name -> value, equal on equal kinds."""
    found = {"tensorflow": tf.__version__}
    if device.startswith("/gpu"):
        cards = tf.config.get_visible_devices("GPU")
        number = int(device.rpartition(":")[2])
        # With logical devices there are more devices than cards.
        details = tf.config.experimental.get_device_details(cards[min(number, len(cards) - 1)])
        return {**found, "gpu": str(details.get("device_name", "unknown"))}
    onednn = "off"
    if tensorflow_private.has_onednn():
        onednn = f"on {one_dnn_settings()}".strip()
    return {**found, "onednn": onednn, **processor(CPUINFO, CACHES)}
