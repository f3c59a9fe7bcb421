"""The workers' addresses as a message: only those that differ from what a worker knows already."""

from collections.abc import Mapping, Sequence
from typing import Any

from mnist_dist.bounded import whole_number
from mnist_dist.cluster.address import split


def changes(actual: Sequence[str], given: Sequence[str] | None) -> list[str] | dict[str, str]:
    """Returns what worker 0 sends of the addresses.

    Args:
        actual: host:port by rank.
        given: the addresses that the receiver was started with; None if worker 0 doesn't know them.
    """
    if given is None:
        return list(actual)
    pairs = enumerate(zip(actual, given, strict=True))
    return {str(rank): now for rank, (now, before) in pairs if now != before}


def read(value: Any, given: Sequence[str]) -> tuple[str, ...]:
    """Returns all addresses by rank.

    Args:
        value: what `changes` returned.
        given: the addresses that this worker was started with.

    Raises:
        ValueError: `value` isn't one address for each worker.
    """
    if isinstance(value, Mapping):
        changed = {read_rank(rank, len(given)): address for rank, address in value.items()}
        addresses = list(given)
        for rank, address in changed.items():
            addresses[rank] = _checked(address)
        if not all(addresses):
            raise ValueError("not the address of each worker")
        return tuple(addresses)
    if not isinstance(value, list) or len(value) != len(given):
        raise ValueError("other addresses than one of each worker")
    return tuple(map(_checked, value))


def _checked(address: Any) -> str:
    """Returns an address that came over the network. Raises ValueError if it isn't host:port."""
    text = address if isinstance(address, str) else ""
    split(text)
    return text


def read_rank(text: str, num_workers: int) -> int:
    """Returns a rank that is a key of a JSON object. Raises ValueError if there is none such."""
    rank = whole_number(text, num_workers - 1)
    if rank is None:
        raise ValueError("a rank that isn't there")
    return rank
