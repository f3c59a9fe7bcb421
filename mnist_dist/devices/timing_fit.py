"""Fits measured times by a sum of non-negative costs, such as latency + bytes / bandwidth."""

import itertools
from collections.abc import Sequence

import numpy as np


def costs(
    columns: np.ndarray, seconds: np.ndarray, weights: np.ndarray | None = None
) -> list[float]:
    """Fits columns @ x = seconds, x >= 0, by non-negative least squares of the relative errors.

    Args:
        columns: float [rows, unknowns], how often each cost occurs in a row.
        seconds: float [rows], measured, above 0.
        weights: float [rows], factors of the relative errors before squaring; None for 1 each.

    Returns:
        x, one number for each unknown. The problem is small, so all subsets of unknowns that are
        not 0 are tried.
    """
    ones = np.ones(len(seconds)) if weights is None else weights
    relative = columns * (ones / seconds)[:, None]
    count = columns.shape[1]
    best, least = [0.0] * count, float("inf")
    for chosen in itertools.product([False, True], repeat=count):
        x = np.zeros(count)
        x[list(chosen)] = np.linalg.lstsq(relative[:, list(chosen)], ones)[0]
        error = float(np.sum((relative @ x - ones) ** 2))
        if x.min() >= 0.0 and error < least:
            best, least = x.tolist(), error
    return best


def alpha_beta(sizes_bytes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Fits seconds = alpha + bytes / beta.

    Returns:
        alpha in seconds and beta in bytes per second.
    """
    sizes = np.array(sizes_bytes, float)
    alpha_s, byte_s = costs(np.stack([np.ones_like(sizes), sizes], 1), np.array(seconds, float))
    return alpha_s, bandwidth(byte_s)


def bandwidth(byte_s: float) -> float:
    """Bytes per second, finite, from seconds per byte."""
    return 1.0 / max(byte_s, 1e-15)
