"""A fingerprint of variables, bit by bit: two runs with the same one have the same weights."""

import hashlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

WEIGHTS = "model/"


def digest(variables: Mapping[str, tf.Variable], begin: str = "") -> str:
    """SHA-256, in hexadecimal digits.

    Args:
        variables: by the names that a checkpoint has.
        begin: of the names to take; WEIGHTS for the network's own, moving statistics included.

    Each in the order of the names: the name, a zero byte, then its numbers in C order, as
    little-endian IEEE 754.
    """
    found = hashlib.sha256()
    for name, variable in sorted(variables.items()):
        if name.startswith(begin):
            values = variable.numpy()
            values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            found.update(name.encode() + b"\0" + values.tobytes())
    return found.hexdigest()
