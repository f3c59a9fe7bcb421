"""Why TensorFlow does, or doesn't, see the GPUs that are there."""

import ctypes
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_dist.devices import nvidia

INSTALL = "pip install 'tensorflow[and-cuda]'"
# What TensorFlow for CUDA 12 opens when it looks for GPUs.
LIBRARIES = (
    *("libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11"),
    *("libcusolver.so.11", "libcusparse.so.12", "libcudnn.so.9"),
)


def look(build: Mapping[str, Any], seen: int) -> dict[str, Any]:
    """Of this worker: its cards, driver, and the CUDA and cuDNN that TensorFlow was built for.

    Args:
        build: what TensorFlow says of how it was built.
        seen: how many GPUs it sees.
    """
    cards = nvidia.cards()
    lacking = missing(LIBRARIES, installed_folders())
    return {
        "gpus": [card._asdict() for card in cards],
        "gpu_driver": nvidia.driver(),
        "gpu_built_for": {
            "cuda": build.get("cuda_version", ""),
            "cudnn": build.get("cudnn_version", ""),
        },
        "gpu_libraries_missing": lacking,
        "gpu_problem": problem(len(cards), seen, bool(build.get("is_cuda_build")), lacking),
    }


def problem(shown: int, seen: int, built_for_gpus: bool, lacking: Sequence[str]) -> str:
    """One line on why TensorFlow doesn't see GPUs that are there; empty if it does.

    Args:
        shown: GPUs that NVIDIA's library shows.
        seen: GPUs that TensorFlow sees.
        built_for_gpus: whether TensorFlow was built with CUDA.
        lacking: libraries that can't be opened.
    """
    if seen >= shown:
        return ""
    there = f"NVIDIA's driver shows {shown} GPU(s), TensorFlow sees {seen}"
    if not built_for_gpus:
        return f"{there}: it was built without CUDA; {INSTALL}"
    if lacking:
        return f"{there}: {', '.join(lacking)} can't be opened; {INSTALL}"
    return f"{there}, and all of CUDA's libraries are there; see what TF_CPP_MIN_LOG_LEVEL=0 says"


def missing(names: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Libraries that neither the loader finds nor one of the folders holds."""
    places = list(folders)
    return [
        name
        for name in names
        if not (_opens(name) or any(_opens(str(folder / name)) for folder in places))
    ]


def installed_folders() -> list[Path]:
    """Where NVIDIA's packages for pip keep their libraries; TensorFlow looks there, too."""
    return sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib"))


def _opens(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
