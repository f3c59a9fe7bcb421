"""Whether dense gradients may be sent as factors: only between workers that compute alike.

With factors every replica forms the gradient by itself, so replicas stay equal only if the same
product gives the same bits on all of them. That takes the same processor, threads and libraries.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_dist.config import Config
from mnist_dist.errors import UsageError, shorten

SHOWN = 60
"""Characters of a value in a message."""


def settled(
    config: Config,
    kind: Mapping[str, str],
    threads: int,
    difference: Callable[[Any], Sequence[Any] | None],
) -> tuple[Config, str]:
    """The flags with --reduce=product if this run's workers differ; all workers call it together.

    Args:
        config: the flags.
        kind: what decides the bits that this worker computes: name -> value.
        threads: of an operation.
        difference: compares a value of all workers; the rank, its value and worker 0's value of the
            first worker that differs, or None.

    Returns:
        The flags, and a line for the log that says why they changed, else empty.

    Raises:
        UsageError: --reduce=factors, and the workers differ.
    """
    if config.reduce == "product" or config.network:
        return config, ""
    # With shards each operation has one thread.
    found = difference({**kind, "threads": str(1 if config.shards else threads)})
    if found is None:
        return config, ""
    rank, other, chief = found
    name = next(name for name in chief if other.get(name) != chief[name])
    values = [shorten(str(of.get(name)), SHOWN) for of in (other, chief)]
    differ = f"{name} of worker {rank} is {values[0]}, of worker 0 {values[1]}"
    if config.reduce == "factors":
        raise UsageError(
            f"--reduce=factors: {differ}; factors need workers that compute alike: start the run "
            "on such, or leave --reduce out"
        )
    line = f"--reduce=auto: product ({differ}; factors need workers that compute alike)"
    return dataclasses.replace(config, reduce="product"), f"{line}."
