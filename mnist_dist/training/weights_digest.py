"""A digest of all bits of a run's variables: runs with equal digests have equal weights."""

import hashlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

WEIGHTS = "model/"


def digest(variables: Mapping[str, tf.Variable], begin: str = "") -> str:
    """SHA-256 of variables, in hexadecimal digits.

    The hashed bytes are, for each variable in the order of the names: the name, a zero byte, then
    the numbers in C order as little-endian IEEE 754.

    Args:
        variables: name in a checkpoint -> variable.
        begin: take only names that begin so; WEIGHTS for the network's, with moving statistics.
    """
    found = hashlib.sha256()
    for name, variable in sorted(variables.items()):
        if name.startswith(begin):
            values = variable.numpy()
            values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            found.update(name.encode() + b"\0" + values.tobytes())
    return found.hexdigest()
