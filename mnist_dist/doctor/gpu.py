"""The GPUs of a worker, and why TensorFlow doesn't see all of them."""

import ctypes
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_dist.devices import nvidia

INSTALL = "pip install 'tensorflow[and-cuda]'"
# Libraries that TensorFlow for CUDA 12 opens when it searches for GPUs.
LIBRARIES = (
    *("libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11"),
    *("libcusolver.so.11", "libcusparse.so.12", "libcudnn.so.9"),
)


def facts(build: Mapping[str, Any], visible: int) -> dict[str, Any]:
    """Returns this worker's cards, driver, and the CUDA and cuDNN that TensorFlow was built for.

    Args:
        build: TensorFlow's build information.
        visible: the number of GPUs that TensorFlow sees.
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
        "gpu_problem": problem(len(cards), visible, bool(build.get("is_cuda_build")), lacking),
    }


def problem(shown: int, visible: int, built_for_gpus: bool, lacking: Sequence[str]) -> str:
    """Returns why TensorFlow doesn't see all GPUs, in one line; empty if it does.

    Args:
        shown: the number of GPUs that NVIDIA's library shows.
        visible: the number of GPUs that TensorFlow sees.
        built_for_gpus: whether TensorFlow was built with CUDA.
        lacking: libraries that can't be opened.
    """
    if visible >= shown:
        return ""
    there = f"NVIDIA's driver shows {shown} GPU(s), TensorFlow sees {visible}"
    if not built_for_gpus:
        return f"{there}: it was built without CUDA; {INSTALL}"
    if lacking:
        return f"{there}: {', '.join(lacking)} can't be opened; {INSTALL}"
    return f"{there}, and all of CUDA's libraries are there; see what TF_CPP_MIN_LOG_LEVEL=0 says"


def missing(names: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """Returns the libraries that are neither on the loader's path nor in one of the folders."""
    places = list(folders)
    return [
        name
        for name in names
        if not (_opens(name) or any(_opens(str(folder / name)) for folder in places))
    ]


def installed_folders() -> list[Path]:
    """Returns the library folders of NVIDIA's pip packages, where TensorFlow searches, too."""
    return sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib"))


def _opens(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
