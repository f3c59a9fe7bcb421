"""Which replicas computed wrong bits, decided by majority from their digests. No TensorFlow."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mnist_dist.errors import EXIT_FAILED, EXIT_WRONG_BITS, BitsDiffer

MOST_NAMED = 4
"""Replicas, and tensors of each, that a message names."""

MOST_SUSPECTS = 64
"""That a report between workers lists."""

Report: TypeAlias = Mapping[str, Any]
"""What a worker reports: "host"; and a list for its replicas in order of each of "devices" (names),
"kinds" (replicas of a kind must have equal bits) and "digests" (one int per tensor)."""


class Suspect(NamedTuple):
    """A replica whose bits differ.

    Attributes:
        rank: its worker's.
        host: its worker's.
        device: its name on that worker.
        tensors: the indices of the tensors that differ.
        known: whether a majority has shown that this replica is wrong; otherwise it is one of
            those that differ.
    """

    rank: int
    host: str
    device: str
    tensors: tuple[int, ...]
    known: bool


def of_replicas(reports: Sequence[Report]) -> list[Suspect]:
    """Compares tensors that must be equal on all replicas of a kind.

    Args:
        reports: the workers', by rank.

    Returns:
        The replicas that differ from the majority of their kind, then those of a kind without a
        majority. Empty if all are equal.
    """
    places = [
        (rank, number) for rank, one in enumerate(reports) for number in range(len(one["kinds"]))
    ]
    kinds: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for rank, number in places:
        kinds[reports[rank]["kinds"][number]].append((rank, number))
    wrong: dict[tuple[int, int], list[int]] = defaultdict(list)
    unknown = set[tuple[int, int]]()
    for alike in kinds.values():
        columns = zip(*(reports[rank]["digests"][number] for rank, number in alike), strict=True)
        for tensor, digests in enumerate(columns):
            right = majority(digests)
            for place, digest in zip(alike, digests, strict=True):
                if digest != right:
                    wrong[place].append(tensor)
                    if right is None:
                        unknown.add(place)
    found = [
        suspect(reports, place, tensors, place not in unknown)
        for place, tensors in sorted(wrong.items())
    ]
    return sorted(found, key=lambda one: not one.known)


def majority(digests: Sequence[int]) -> int | None:
    """The digest that more than half have; None if there is none."""
    digest, votes = Counter(digests).most_common(1)[0]
    return digest if 2 * votes > len(digests) else None


def suspect(
    reports: Sequence[Report], place: tuple[int, int], tensors: Sequence[int], known: bool
) -> Suspect:
    """The replica of a rank and a number on that worker."""
    rank, number = place
    report = reports[rank]
    return Suspect(rank, report["host"], report["devices"][number], tuple(tensors), known)


def failure(
    suspects: Sequence[Suspect], names: Sequence[str], what: str, step: int, rank: int
) -> BitsDiffer:
    """The error that ends this worker's run.

    Args:
        suspects: the replicas that differ, the known ones first.
        names: of the tensors.
        what: was compared, such as "the replicas' weights or optimizer".
        step: global steps done.
        rank: this worker's, which exits with EXIT_WRONG_BITS if it has a suspect.
    """
    known = suspects[0].known
    listed = [one for one in suspects if one.known == known]
    named = "; ".join(
        f"worker {one.rank} (host {one.host}) {one.device}: {_layers(one, names)}"
        for one in listed[:MOST_NAMED]
    )
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    verdict = "wrong bits on" if known else "no majority says which is right of"
    blamed = {one.rank for one in listed}
    return BitsDiffer(
        f"step {step}: {what} differ: {verdict} {named}{more}; nothing was saved over; test the "
        "device with doctor --burn_in",
        EXIT_WRONG_BITS if rank in blamed else EXIT_FAILED,
    )


def _layers(one: Suspect, names: Sequence[str]) -> str:
    shown = ", ".join(names[index] for index in one.tensors[:MOST_NAMED])
    more = f" and {len(one.tensors) - MOST_NAMED} more" if len(one.tensors) > MOST_NAMED else ""
    return shown + more
