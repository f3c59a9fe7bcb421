"""What decides the last bits of a number beyond the flags: processor, kernels, TensorFlow."""

import re
from pathlib import Path

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
FEATURES = r"(?:avx|amx|fma|sse4|f16c|sve|asimd)\w*"  # what kernels are written for


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


def processor(cpuinfo: Path, caches: Path) -> dict[str, str]:
    """The CPU's model, and what kernels are chosen and cut by: its features and its caches.

    Args:
        cpuinfo: Linux's /proc/cpuinfo.
        caches: Linux's folder of the first core's caches.
    """
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = dict(re.findall(r"^(model name|flags|Features)\s*: (.*)$", text, re.MULTILINE))
    features = re.findall(rf"\b{FEATURES}\b", names.get("flags") or names.get("Features", ""))
    sizes = [path.read_text().strip() for path in sorted(caches.glob("index*/size"))]
    return {
        "cpu": names.get("model name", "unknown"),
        "cpu_features": " ".join(sorted(features)) or "unknown",
        "cpu_caches": " ".join(sizes) or "unknown",
    }
