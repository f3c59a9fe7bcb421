"""This machine's GPUs by NVIDIA's management library; none without the library."""

import ctypes
import os
from typing import Any, NamedTuple

from mnist_dist.errors import UsageError

LIBRARY = "libnvidia-ml.so.1"  # comes with the driver
MIB = 2**20


class Card(NamedTuple):
    """A GPU.

    Attributes:
        name: such as "NVIDIA H200".
        uuid: such as "GPU-5f1b...".
        memory_bytes: the card's memory.
        used_bytes: memory in use, by all processes.
        utilisation_percent: share of recent time in which a kernel ran; None if unknown.
    """

    name: str
    uuid: str
    memory_bytes: int
    used_bytes: int
    utilisation_percent: int | None


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Utilisation(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in ("gpu", "memory")]


def driver(library: str = LIBRARY) -> str:
    """The driver's version; empty without one."""
    nvml = _load(library)
    return _text(nvml.nvmlSystemGetDriverVersion) if nvml else ""


def cards(library: str = LIBRARY) -> tuple[Card, ...]:
    """The GPUs that CUDA shows to this process, in CUDA's order."""
    nvml = _load(library)
    if nvml is None:
        return ()
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return ()
    there = [card for index in range(count.value) if (card := _card(nvml, index))]
    return tuple(shown(there, os.environ.get("CUDA_VISIBLE_DEVICES")))


def shown(there: list[Card], visible: str | None) -> list[Card]:
    """The machine's cards that CUDA_VISIBLE_DEVICES allows, in its order; all if it isn't set."""
    if visible is None:
        return there
    found: list[Card] = []
    for word in (word.strip() for word in visible.split(",")):
        if word.isdecimal():
            match = there[int(word) : int(word) + 1]
        else:
            match = [card for card in there if word and card.uuid.startswith(word)]
        if not match:  # CUDA, too, stops at the first index that doesn't exist
            break
        found += match
    return found


def chosen(text: str, count: int) -> list[int]:
    """Indices of the GPUs that --gpus asks for: all, a count, or a list with a comma.

    Args:
        text: the flag's value.
        count: the number of GPUs.

    Raises:
        UsageError: the value isn't one of these, or asks for a GPU that isn't there.
    """
    there = f"this machine shows {count} GPU(s) to TensorFlow"
    if not text:
        return list(range(count))
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise UsageError(f"--gpus={text}: give a count, or indices such as 0,2") from error
    indices = numbers if "," in text else list(range(numbers[0]))
    if not indices or min(numbers) < 0 or len(set(indices)) < len(indices):
        raise UsageError(f"--gpus={text}: give a count from 1, or different indices such as 0,2")
    if max(indices) >= count:
        raise UsageError(f"--gpus={text}: {there}; ask for those, or give --no_gpu")
    return indices


def _load(library: str) -> Any:
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return None
    return None if nvml.nvmlInit_v2() else nvml


def _card(nvml: Any, index: int) -> Card | None:
    handle, memory, utilisation = ctypes.c_void_p(), _Memory(), _Utilisation()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        return None
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
        return None
    silent = nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(utilisation))
    return Card(
        name=_text(nvml.nvmlDeviceGetName, handle),
        uuid=_text(nvml.nvmlDeviceGetUUID, handle),
        memory_bytes=memory.total,
        used_bytes=memory.used,
        utilisation_percent=None if silent else utilisation.gpu,
    )


def _text(ask: Any, *arguments: Any) -> str:
    answer = ctypes.create_string_buffer(96)
    return "" if ask(*arguments, answer, ctypes.c_uint(96)) else answer.value.decode()
