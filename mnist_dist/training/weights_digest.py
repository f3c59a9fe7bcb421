"""A digest of all bits of a run's variables: runs with equal digests have equal weights."""

import hashlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

WEIGHTS = "model/"


def digest(variables: Mapping[str, tf.Variable], begin: str = "") -> str:
    """SHA-256 of variables, in hexadecimal digits.

    Args:
        variables: name in a checkpoint -> variable.
        begin: take only names that begin so; WEIGHTS for the network's, with moving statistics.
    """
    return digest_of_arrays({n: v.numpy() for n, v in variables.items() if n.startswith(begin)})


def digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays, in hexadecimal digits.

    The hashed bytes are, for each array in the order of the names: the name, a zero byte, then
    the numbers in C order as little-endian IEEE 754.

    Args:
        arrays: name in a checkpoint -> numbers.
    """
    found = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        numbers = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        found.update(name.encode() + b"\0" + numbers.tobytes())
    return found.hexdigest()
