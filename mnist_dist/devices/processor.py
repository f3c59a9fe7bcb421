"""This machine's CPU: the properties that decide which kernels run. No TensorFlow."""

import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
FEATURES = r"(?:avx|amx|fma|sse4|f16c|sve|asimd)\w*"  # the instruction sets that kernels use


def processor(cpuinfo: Path, caches: Path) -> dict[str, str]:
    """The CPU's model, and what libraries choose kernels by: its features and its caches.

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
