"""Starts a run's workers and restarts them until they are done, for local.sh and ssh.sh."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from mnist_dist.launch.decision import MOST_KILLS, Action, How, Situation, allowed, decide
from mnist_dist.launch.workers import Worker, Workers
from mnist_dist.run import store


class Starter(Protocol):
    """Starts workers on hosts. Starters are the only difference between local.sh and ssh.sh."""

    def hosts(self, again: bool) -> list[str]:
        """The hosts that answer, one entry for each worker that may be started there.

        Args:
            again: whether workers were started before. If not, a host that can't be used is an
                error; later it is left out.
        """

    def start(self, hosts: Sequence[str]) -> Sequence[Worker]:
        """Starts a worker for each entry of `hosts`, which `hosts()` has returned just before."""


class Rules(NamedTuple):
    """The rules for restarts.

    Attributes:
        launcher: its name, for messages.
        max_restarts: restarts in a row that may bring no newer checkpoint; 0 for none at all.
        checkpoints: --checkpoint_dir.
        shards: --shards.
        replicas: returns how many each worker has, once the hosts are known.
    """

    launcher: str
    max_restarts: int = 0
    checkpoints: Path = Path()
    shards: int = 0
    replicas: Callable[[], int] = lambda: 1


def supervise(workers: Workers, starter: Starter, rules: Rules) -> int:
    """Runs the workers, and again from the newest checkpoint as long as `decide` says so.

    Args:
        workers: of the run.
        starter: starts them.
        rules: decide about another try.

    Returns:
        The exit code of the last try: that of the first worker that failed, or 0.

    Raises:
        UsageError: a host can't be used, or a checkpoint has another format, or this user may not
            read it.
        RunError: a worker can't be started.
        KeyboardInterrupt, ToldToStop: this process got a signal while no worker was running.
    """
    with workers.interruptible():
        hosts = starter.hosts(again=False)
    if not rules.max_restarts:
        return workers.run(lambda: starter.start(hosts))
    number = allowed(len(hosts), rules.shards, rules.replicas()) or len(hosts)
    if number < len(hosts):
        _say(rules, f"{number} workers, over which --shards divides; {_unused(hosts[number:], {})}")
        hosts = hosts[:number]
    step, tries = _newest_step(rules.checkpoints), 0
    losses: Mapping[str, int] = {}
    while True:
        started = hosts
        code = workers.run(functools.partial(starter.start, started))
        before, step = step, _newest_step(rules.checkpoints)
        ends = workers.ends()
        final = {end.how for end in ends} == {How.DONE} or How.REFUSED in {e.how for e in ends}
        answering = list[str]()
        if not final and not workers.stop_requested:
            with workers.interruptible():
                answering = starter.hosts(again=True)
        decided = decide(
            Situation(
                ends=ends,
                hosts=answering,
                losses=losses,
                progress=step > before,
                tries=tries,
                max_restarts=rules.max_restarts,
                shards=rules.shards,
                replicas=rules.replicas(),
                stop_requested=workers.stop_requested,
            )
        )
        if decided.action is not Action.AGAIN:
            if decided.action is Action.GIVE_UP:
                left = f"the newest checkpoint is of step {step}" if step else "nothing was saved"
                _say(rules, f"{decided.reason}: not started again; {left}")
            return code
        tries, losses, hosts = decided.tries, decided.losses, list(decided.hosts)
        counted = f", try {tries} of {rules.max_restarts} without progress" if tries else ""
        changed = f" on {len(hosts)} worker(s)" if len(hosts) != len(started) else ""
        idle = f"; {_unused(decided.idle, losses)}" if decided.idle else ""
        place = f"from step {step}" if step else "from the beginning"
        _say(rules, f"{decided.reason}: starts again{changed} {place}{counted}{idle}")


def _unused(hosts: Sequence[str], losses: Mapping[str, int]) -> str:
    """Names hosts that answer and get no worker, and says why of those that are left out."""
    named = (
        f"{host} (workers were lost there)" if losses.get(host, 0) >= MOST_KILLS else host
        for host in dict.fromkeys(hosts)
    )
    return f"not used: {', '.join(named)}"


def _newest_step(checkpoints: Path) -> int:
    """The global step of the newest whole checkpoint, 0 if there is none."""
    saved, _ = store.newest(checkpoints)
    return saved.step if saved else 0


def _say(rules: Rules, text: str) -> None:
    print(f"{rules.launcher}: {text}", file=sys.stderr, flush=True)
