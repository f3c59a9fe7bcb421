"""Which replicas' bits are compared: those of one kind of hardware. No TensorFlow."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mnist_dist.errors import listing


class Scope(NamedTuple):
    """What can be compared in a run.

    Attributes:
        pairs: whether two replicas or more are of one kind.
        line: for the log; empty if all replicas are of one kind.
    """

    pairs: bool
    line: str


def scope(reports: Sequence[Mapping[str, Any]], kind: str) -> Scope:
    """What can be compared between the replicas of all workers.

    Args:
        reports: the workers', by rank: "devices", the names, and "kinds" of their replicas; no
            kinds if the replicas don't promise their bits.
        kind: what decides the bits, such as "hardware".
    """
    places = [(rank, name) for rank, one in enumerate(reports) for name in one["devices"]]
    kinds = [one for report in reports for one in report["kinds"]]
    if len(places) == 1:
        return Scope(False, "")
    if not kinds:
        return Scope(False, "Bits aren't compared: --nondeterministic.")
    alike = defaultdict[str, list[tuple[int, str]]](list)
    for place, one in zip(places, kinds, strict=True):
        alike[one].append(place)
    if len(alike) == 1:
        return Scope(True, "")
    by_worker = all(len(set(report["kinds"])) == 1 for report in reports)
    groups = [group for group in alike.values() if len(group) > 1]
    alone = [group[0] for group in alike.values() if len(group) == 1]
    if not groups:
        return Scope(False, f"Bits aren't compared: no two replicas have equal {kind}.")
    said = [_named(group, by_worker) for group in groups]
    if alone:
        differ, not_compared = ("differs", "isn't") if len(alone) == 1 else ("differ", "aren't")
        names = _named(alone, by_worker)
        said.append(f"{names} {differ} from all others and {not_compared} compared")
    return Scope(True, f"Bits are compared between replicas of equal {kind}: {'; '.join(said)}.")


def _named(places: Sequence[tuple[int, str]], by_worker: bool) -> str:
    """Such as "workers 0, 2", or "worker 0 /gpu:1" where a worker's replicas differ in kind."""
    if by_worker:
        names = [str(rank) for rank in dict.fromkeys(rank for rank, _ in places)]
        first = "worker " if len(names) == 1 else "workers "
    else:
        names, first = [f"worker {rank} {device}" for rank, device in places], ""
    return first + listing(names)
