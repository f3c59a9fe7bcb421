"""What decides the last bits of a number beyond the flags: processor, kernels, TensorFlow."""

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

from mnist_dist.devices.processor import CACHES, CPUINFO, processor


def arithmetic(device: str) -> dict[str, str]:
    """What computes on a logical device such as "/gpu:0": name -> value, the same on its kind."""
    found = {"tensorflow": tf.__version__}
    if device.startswith("/gpu"):
        cards = tf.config.get_visible_devices("GPU")
        number = int(device.rpartition(":")[2])
        # Logical devices of one card are more than there are cards.
        details = tf.config.experimental.get_device_details(cards[min(number, len(cards) - 1)])
        return {**found, "gpu": str(details.get("device_name", "unknown"))}
    onednn = "on" if _pywrap_util_port.IsMklEnabled() else "off"
    return {**found, "onednn": onednn, **processor(CPUINFO, CACHES)}
