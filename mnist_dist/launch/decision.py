"""Decides what to do after the workers of a run have ended.

`decide` is a pure function. Its rules, in the order in which they are tried:

| situation                                                              | action  |
| ---------------------------------------------------------------------- | ------- |
| every worker is done                                                   | done    |
| a worker was refused: wrong input, or its program is missing           | refused |
| the launcher was asked to stop                                         | requeue |
| more than `max_restarts` restarts in a row brought no newer checkpoint | give up |
| less than `least_time_s` is left of the time limit                     | requeue |
| fewer than `min_workers` workers can be started                        | requeue |
| anything else                                                          | again   |

Where requeueing isn't possible, `requeue` becomes `give up`.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mnist_dist.errors import EXIT_SAVED, EXIT_USAGE, EXIT_WRONG_BITS, listing

MOST_KILLS = 2
"""A host on which so many workers were lost is left out, as long as another one is left.

A host suspected of wrong bits is left out after the first time. If no majority has shown which of
two hosts is wrong, both are suspected: the run goes on without both if it can. If every host that
answers is left out, it goes on with all of them, so that a fault that happened once doesn't end it.
"""

NOT_STARTED = (EXIT_USAGE, 126, 127)
"""Exit codes that another attempt can't change: wrong usage; a program that a shell can't run."""


class How(enum.Enum):
    """How a worker ended."""

    DONE = "done"
    REFUSED = "refused"
    SAVED = "saved"
    FAILED = "failed"
    KILLED = "killed"
    LOST = "lost"
    SILENT = "silent"
    WRONG_BITS = "suspected of wrong bits"


HOST_TO_BLAME = (How.KILLED, How.LOST, How.SILENT, How.WRONG_BITS)
"""The worker's own program isn't the cause, so its host may be."""


class Action(enum.Enum):
    """What to do next."""

    DONE = "done"
    REFUSED = "refused"
    AGAIN = "again"
    REQUEUE = "requeue"
    GIVE_UP = "give up"


class End(NamedTuple):
    """The end of one worker.

    Attributes:
        rank: the worker's.
        host: on which it ran.
        how: it ended.
    """

    rank: int
    host: str
    how: How


class Situation(NamedTuple):
    """What is known after all workers have ended.

    Attributes:
        ends: one for each worker.
        hosts: those that answer now, in order of preference; one entry for each worker that may be
            started there.
        losses: host -> workers that were lost on it in the tries before this one.
        progress: whether this try saved a newer checkpoint.
        tries: in a row, before this one, without progress.
        max_restarts: restarts in a row without progress that are allowed.
        shards: --shards; 0 for none.
        replicas: of each worker.
        most_workers: the most workers to start; further hosts are spares.
        min_workers: the fewest workers with which the run is restarted here.
        time_left_s: until the time limit; infinite if there is none.
        least_time_s: the least time left with which the run is restarted here.
        stop_requested: the launcher itself was asked to stop: by a user, a time limit, preemption.
        can_requeue: a scheduler can start the run again later.
    """

    ends: Sequence[End]
    hosts: Sequence[str]
    losses: Mapping[str, int]
    progress: bool
    tries: int
    max_restarts: int
    shards: int = 0
    replicas: int = 1
    most_workers: int = 1_000_000
    min_workers: int = 1
    time_left_s: float = float("inf")
    least_time_s: float = 0.0
    stop_requested: bool = False
    can_requeue: bool = False


class Decision(NamedTuple):
    """What to do next.

    Attributes:
        action: the next one.
        reason: of the action, for the log; a clause without a full stop.
        tries: in a row without progress, this one included.
        losses: host -> workers that were lost on it so far.
        hosts: of the next try, one entry for each worker; empty unless the action is `AGAIN`.
        idle: hosts that answer and are not used.
    """

    action: Action
    reason: str
    tries: int
    losses: Mapping[str, int]
    hosts: Sequence[str] = ()
    idle: Sequence[str] = ()


def decide(now: Situation) -> Decision:
    """Chooses the action; the module's table has the rules."""
    tries = 0 if now.progress else now.tries + 1
    losses = Counter(now.losses)
    losses.update(end.host for end in now.ends if end.how in HOST_TO_BLAME)
    suspects = {end.host for end in now.ends if end.how is How.WRONG_BITS}
    losses.update(dict.fromkeys(suspects, MOST_KILLS))  # at once: a wrong sum spoils all results
    ways = {end.how for end in now.ends}

    def chosen(action: Action, reason: str) -> Decision:
        if action is Action.REQUEUE and not now.can_requeue:
            action = Action.GIVE_UP
        return Decision(action, reason, tries, losses)

    if ways == {How.DONE}:
        return chosen(Action.DONE, "finished")
    if How.REFUSED in ways:
        return chosen(Action.REFUSED, "another try would be refused, too")
    if now.stop_requested:
        return chosen(Action.REQUEUE, "asked to stop")
    if tries > now.max_restarts:
        tried = f"{now.max_restarts} restart{'s' * (now.max_restarts != 1)}"
        return chosen(Action.GIVE_UP, f"{tried} brought no newer checkpoint")
    if now.time_left_s < now.least_time_s:
        return chosen(Action.REQUEUE, f"{now.time_left_s:.0f} s are left of the time limit")
    usable = tuple(host for host in now.hosts if losses[host] < MOST_KILLS) or tuple(now.hosts)
    number = allowed(min(len(usable), now.most_workers), now.shards, now.replicas)
    least = max(now.min_workers, 1)
    if number < least:
        return chosen(
            Action.REQUEUE,
            f"{number} worker(s) can be started here, at least {least} are needed",
        )
    idle = tuple((Counter(now.hosts) - Counter(usable[:number])).elements())
    return Decision(Action.AGAIN, _cause(now.ends), tries, losses, usable[:number], idle)


def allowed(most: int, shards: int, replicas: int) -> int:
    """The largest number of workers, at most `most`, over whose replicas --shards divides.

    Args:
        most: the upper bound.
        shards: --shards; 0 allows every number.
        replicas: of each worker.

    Returns:
        The number of workers; 0 if none fits.
    """
    if not shards:
        return most
    return max((n for n in range(1, most + 1) if shards % (n * replicas) == 0), default=0)


def how(returncode: int) -> How:
    """How a process ended.

    Args:
        returncode: as of `subprocess`: negative for a signal. A shell's 128 + signal counts, too.
    """
    if returncode == 0:
        return How.DONE
    if returncode == EXIT_SAVED:
        return How.SAVED
    if returncode == EXIT_WRONG_BITS:
        return How.WRONG_BITS
    if returncode in NOT_STARTED:
        return How.REFUSED
    return How.KILLED if returncode < 0 or returncode > 128 else How.FAILED


def _cause(ends: Iterable[End]) -> str:
    """Names the workers whose end made the others end, or says that all have saved."""
    blamed = [end for end in ends if end.how in HOST_TO_BLAME]
    failed = blamed or [end for end in ends if end.how is How.FAILED]
    if not failed:
        return "saved when told to stop"
    listed = listing([f"{end.rank} ({end.host}) {end.how.value}" for end in failed], most=4)
    return f"worker{'s' * (len(failed) > 1)} {listed}"
