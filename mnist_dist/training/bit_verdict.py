"""Which replicas computed wrong bits, decided by majority from their digests. No TensorFlow."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mnist_dist.errors import EXIT_FAILED, EXIT_WRONG_BITS, BitsDiffer, listing

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
    kinds: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for rank, number in _places(reports):
        kinds[reports[rank]["kinds"][number]].append((rank, number))
    votes = [
        [(place, reports[place[0]]["digests"][place[1]]) for place in alike]
        for alike in kinds.values()
    ]
    return _outvoted(reports, votes)


def of_checks(reports: Sequence[Report], owners: Sequence[Sequence[Sequence[int]]]) -> Any:
    """Compares what several replicas computed of the same shards.

    Args:
        reports: the workers', by rank; a replica's "digests" are, for each checked step, a list of
            lists: the digests of its own shard, then of each that it computed of another replica,
            or of its own once more.
        owners: for each checked step and each replica, the replicas whose shards it computed.

    Returns:
        The index of the first checked step with a difference and its suspects; (0, []) if all are
        equal. A replica that differs from itself is known to be wrong.
    """
    places = _places(reports)
    for check, by_replica in enumerate(owners):
        votes: list[list[tuple[tuple[int, int], list[int]]]] = [[] for _ in places]
        for replica, (rank, number) in enumerate(places):
            own, *computed = reports[rank]["digests"][number][check]
            votes[replica].insert(0, ((rank, number), own))
            for owner, digests in zip(by_replica[replica], computed, strict=True):
                other = places[owner]
                kinds = [reports[r]["kinds"][n] for r, n in ((rank, number), other)]
                if kinds[0] == kinds[1]:
                    votes[owner].append(((rank, number), digests))
        suspects = _outvoted(reports, votes)
        if suspects:
            return check, suspects
    return 0, []


def _places(reports: Sequence[Report]) -> list[tuple[int, int]]:
    """Each replica's rank and number on that worker."""
    return [
        (rank, number) for rank, one in enumerate(reports) for number in range(len(one["kinds"]))
    ]


def _outvoted(
    reports: Sequence[Report], votes: Sequence[Sequence[tuple[tuple[int, int], Sequence[int]]]]
) -> list[Suspect]:
    """The replicas without a majority for their digests, the known ones first.

    Args:
        reports: the workers', by rank.
        votes: lists of places and their digests, which must be equal within each list.
    """
    wrong: dict[tuple[int, int], set[int]] = defaultdict(set)
    known = set[tuple[int, int]]()
    for ballot in votes:
        alone = len({place for place, _ in ballot}) == 1
        for tensor in range(len(ballot[0][1])):
            right = majority(
                [(reports[rank]["host"], rank, digests[tensor]) for (rank, _), digests in ballot]
            )
            for place, digests in ballot:
                if digests[tensor] != right:
                    wrong[place].add(tensor)
                    if right is not None or alone:
                        known.add(place)
    found = [
        suspect(reports, place, sorted(tensors), place in known)
        for place, tensors in sorted(wrong.items())
    ]
    return sorted(found, key=lambda one: not one.known)


def majority(votes: Sequence[tuple[str, int, int]]) -> int | None:
    """The digest that more than half have; None if there is none.

    Replicas of one host may err alike, by the host's data, memory or processor. So if several hosts
    vote, the majority must include two of them. The same holds for the workers of a single host.

    Args:
        votes: for each replica the host and the rank of its worker, and its digest.
    """
    digest, count = Counter(digest for _, _, digest in votes).most_common(1)[0]
    several_hosts = len({host for host, _, _ in votes}) > 1
    groups = [(host if several_hosts else rank, one) for host, rank, one in votes]
    agreeing = {group for group, one in groups if one == digest}
    single = len({group for group, _ in groups}) == 1
    return digest if 2 * count > len(votes) and (single or len(agreeing) > 1) else None


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
    named = [
        f"worker {one.rank} (host {one.host}) {one.device}: {_layers(one, names)}" for one in listed
    ]
    replicas = listing(named, MOST_NAMED, "; ")
    verdict = "wrong bits on" if known else "no majority says which is right of"
    blamed = {one.rank for one in listed}
    return BitsDiffer(
        f"step {step}: {what} differ: {verdict} {replicas}; nothing was saved over; test the "
        "device with doctor --burn_in",
        EXIT_WRONG_BITS if rank in blamed else EXIT_FAILED,
    )


def _layers(one: Suspect, names: Sequence[str]) -> str:
    return listing([names[index] for index in one.tensors], MOST_NAMED)
