"""TensorFlow's errors on a device as one line that says what to do. No TensorFlow."""

import re

MOST_CHARACTERS = 500  # of TensorFlow's own message


def line(kind: str, message: str) -> str:
    """Says what failed, and what to do about it if that is known.

    Args:
        kind: the error's class, such as ResourceExhaustedError.
        message: TensorFlow's message.
    """
    if kind == "ResourceExhaustedError":
        shape = re.search(r"shape ?\[[\d,]+\]|\d+ bytes|[\d.]+[KMG]iB", message)
        what = f" ({shape[0]} were wanted)" if shape else ""
        return (
            f"the device's memory is full{what}; give a smaller --batch_size, more "
            "--accumulate_steps, --xla=off, or a larger --gpu_memory_mib if there is a limit"
        )
    words = " ".join(message.split())
    lacks = re.search(
        r"[^.:]*\bdeterministic\b[^.:]*not[^.:]*available[^.:]*", words, re.IGNORECASE
    )
    if lacks:
        return (
            f"{lacks[0].strip()}; leave out the flag that needs it, or give --nondeterministic, "
            "with which two runs differ"
        )
    if re.search(r"libdevice|ptxas|nvlink", words):
        return (
            f"XLA lacks a part of CUDA's toolkit ({words[:MOST_CHARACTERS]}); pip install "
            "'tensorflow[and-cuda]' has it, or give --xla=off"
        )
    return words[:MOST_CHARACTERS]
