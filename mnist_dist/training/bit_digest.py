"""A digest of a tensor's bits that is computed where the tensor is.

A GPU then hands the host eight bytes, not the tensor. The digest is a sum over the tensor's words,
each times an odd factor of its position, so a single wrong word is always seen: its difference is
not 0 and less than 2^33, and an odd number has an inverse modulo 2^64. Several wrong words can
cancel out, with a probability of about 2^-32 or less. It is no protection against an adversary.
"""

import numpy as np
import tensorflow as tf

COLUMNS = 1024
INTEGERS = {1: tf.int8, 2: tf.int16, 4: tf.int32, 8: tf.int32}
"""Bytes of a number -> the words that it is read as."""


def bit_digest(tensor: tf.Tensor) -> tf.Tensor:
    """The digest of a tensor of any numeric dtype and known shape: an int64 scalar.

    The tensor's bits are read in C order as little-endian signed words w of 32 bits (of the
    number's size if it is smaller), padded with zeros to rows of 1,024. The digest is the sum of
    w[r, c] * factors(rows)[r] * factors(1024)[c] modulo 2^64.
    """
    if tensor.dtype == tf.bool:
        tensor = tf.cast(tensor, tf.int8)
    row = COLUMNS // max(tensor.dtype.size // 4, 1)  # numbers in a row of words
    count = tensor.shape.num_elements()
    rows = -(-count // row)
    # In this order, since on a GPU TensorFlow pads no int64 and reshapes int32 on the host.
    padded = tf.pad(tf.reshape(tensor, [-1]), [[0, rows * row - count]])
    words = tf.bitcast(tf.reshape(padded, [rows, row]), INTEGERS[tensor.dtype.size])
    wide = tf.reshape(tf.cast(words, tf.int64), [rows, COLUMNS])
    sums = tf.reduce_sum(wide * factors(COLUMNS), 1)
    return tf.reduce_sum(sums * factors(rows))


def factors(count: int) -> np.ndarray:
    """The first odd factors, int64 [count]: SplitMix64 (Steele et al. 2014) from seed 0, | 1."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((x ^ (x >> np.uint64(31))) | np.uint64(1)).view(np.int64)


def shown(digest: int) -> str:
    """A digest as 16 hexadecimal digits."""
    return f"{digest & (2**64 - 1):016x}"
