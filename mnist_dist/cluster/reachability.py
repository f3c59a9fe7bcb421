"""Checks that the workers can connect to each other. Each worker tries a few others.

TensorFlow's collectives connect the workers with each other. If a worker's name is unknown or a
firewall blocks its port, they wait for ever and print nothing. Checking all pairs would take
N (N - 1) connections.
"""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Collection, Mapping, Sequence

from mnist_dist.cluster.address import split
from mnist_dist.cluster.connecting import NO_ANSWER, connect
from mnist_dist.cluster.deadline import MeetingDeadline
from mnist_dist.cluster.handshake import Handshake
from mnist_dist.errors import listing

RANDOM = 2  # workers that each tries, beside its neighbours
ATTEMPTS = 3
ATTEMPT_S = 3.0
PAUSE_S = 0.5  # between attempts, at most
EARLY_S = 5.0  # until the first attempts of a worker that waits for late ones
TRY_S = ATTEMPTS * (ATTEMPT_S + PAUSE_S) + 5.0  # for all workers together, names apart
MOST_NAMES = 3

_jitter = random.SystemRandom()  # not the seeded generator, which belongs to the user


def targets(num_workers: int, rank: int, token: str) -> list[int]:
    """Returns the workers that worker `rank` tries to reach.

    They are worker 0, the neighbours in the ring of an all-reduce, and RANDOM others, which
    (token, rank) decides.
    """
    chosen = random.Random(f"{token}/{rank}")  # noqa: S311 -- no secret
    others = chosen.sample(range(num_workers), min(RANDOM, num_workers))
    neighbours = ((rank - 1) % num_workers, (rank + 1) % num_workers)
    return sorted({0, *neighbours, *others} - {rank})


async def failures(
    addresses: Sequence[str], tried: Collection[int], deadline: MeetingDeadline
) -> dict[int, str]:
    """Connects to some workers at the same time.

    Args:
        addresses: host:port by rank.
        tried: ranks.
        deadline: how long to retry a name that doesn't resolve yet.

    Returns:
        rank -> reason, for the workers that can't be reached.
    """
    reasons = await asyncio.gather(*(_try(rank, addresses[rank], deadline) for rank in tried))
    return {rank: reason for rank, reason in zip(tried, reasons, strict=True) if reason}


async def try_early(addresses: Sequence[str], tried: Collection[int], reached: set[str]) -> None:
    """Tries to reach workers before all have come, so that late ones are all that is waited for.

    It returns when all of them have been reached.

    Args:
        addresses: host:port by rank, or "" for one that isn't known yet.
        tried: ranks.
        reached: gets the addresses that have answered.
    """
    while left := [a for a in (addresses[rank] for rank in tried) if a and a not in reached]:
        await asyncio.sleep(_jitter.uniform(1.0, 1.5) * EARLY_S)
        for address in left:
            with contextlib.suppress(OSError, UnicodeError):  # it may come later
                (await connect(*split(address), ATTEMPT_S)).close()
                reached.add(address)


async def _try(rank: int, address: str, deadline: MeetingDeadline) -> str:
    """Returns why a worker can't be reached, or "".

    Several attempts, since a full accept queue (net.core.somaxconn) drops connections.
    """
    host, port = split(address)
    reason, attempts = "", 0
    while attempts < ATTEMPTS:
        try:
            (await connect(host, port, ATTEMPT_S)).close()
            return ""
        except socket.gaierror as error:
            if not await deadline.wait_for_name(f"worker {rank}", host, error):
                return error.strerror or str(error)
            continue
        except OSError as error:
            # asyncio's own text is "Connect call failed" and the address, without the cause.
            reason = os.strerror(error.errno) if error.errno else str(error)
        except UnicodeError as error:  # not a host name, such as a label of over 63 characters
            return str(error)
        attempts += 1
        await asyncio.sleep(_jitter.uniform(0.2, 1.0) * PAUSE_S)
    return reason


def describe(
    failed: Mapping[int, Mapping[int, str]], workers: Mapping[int, Handshake]
) -> str | None:
    """Returns who can't reach whom, or None if all could.

    Args:
        failed: rank -> rank of the worker it can't reach -> why.
        workers: by rank.
    """
    by_target = dict[int, dict[int, str]]()
    for rank, reasons in sorted(failed.items()):
        for target, reason in reasons.items():
            by_target.setdefault(target, {})[rank] = reason
    if not by_target:
        return None

    # The one that most workers fail to reach is the likeliest cause; among equals, one for which
    # there is a reason: a time-out may be the way back that is closed.
    def likeliness(rank: int) -> tuple[int, bool, int]:
        reasons = by_target[rank].values()
        return len(reasons), any(not reason.startswith(NO_ANSWER) for reason in reasons), -rank

    target = max(by_target, key=likeliness)
    (first, reason), *rest = by_target[target].items()
    also = [f"worker {rank}" for rank, _ in rest]
    also_text = f", nor can {listing(also, MOST_NAMES)}" if also else ""
    others = [str(rank) for rank in sorted(by_target) if rank != target]
    other_text = f"; unreached too: worker {listing(others, MOST_NAMES)}"
    return (
        f"{workers[first].name} can't reach {workers[target].name} at {workers[target].address} "
        f"({reason}){also_text}{other_text if others else ''}; check name and firewall"
    )
