"""Thousands of workers meet on one machine, without TensorFlow; then one of them dies.

    python -m benchmarks.meeting --workers=4096 [--somaxconn=128] [--nofile=1024] [--late]

Worker 0 is a process of its own. The others are coroutines that run the package's own code, shared
by a few processes; the last one is a process of its own, which is killed at the end. All of it is
in a network namespace of its own (`unshare`, from util-linux, and `ip`, from iproute2), where
somaxconn is the length of the accept queue. With --late 3 % of the workers start 30 s after the
others. Prints, of worker 0 where nothing else is said: seconds until all have met, messages and
bytes, open files, memory, CPU; and seconds until every worker knows of the death.

The simulated workers share this machine's cores, and their attempts to reach each other take most
of the time. Real ones make them on hosts of their own. With --reachable the simulated workers make
none, and tell worker 0 at once that they could reach all: what is left is worker 0's time.
"""

import argparse
import asyncio
import functools
import gc
import multiprocessing
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil

from mnist_dist.cluster import deadline, handshake, messages, ports, reachability
from mnist_dist.cluster.deadline import Clock, MeetingDeadline
from mnist_dist.cluster.group import Group
from mnist_dist.cluster.peer import Peer
from mnist_dist.cluster.rendezvous import Terms, meet, rendezvous
from mnist_dist.cluster.topology import Topology
from mnist_dist.config import Config

PORT = 21789
TIMEOUT_S = 600.0
PEER_TIMEOUT_S = 60.0
LATE_SHARE, LATE_S = 0.03, 30.0
INSIDE = "MNIST_DIST_BENCHMARK_IN_NAMESPACE"
SIMULATED_ROUND_S = (
    2.0  # in which a simulated worker looks for signals; a real one 4 times a second
)


class Job(NamedTuple):
    """What all processes of the benchmark know."""

    addresses: tuple[str, ...]
    late_s: float
    reachable: bool
    nofile: int
    watch_s: float
    start: Any  # the barrier at which all processes begin at once

    def topology(self, rank: int) -> Topology:
        return Topology(self.addresses, rank, "tf_config", "0" * 64)


@functools.cache
def fingerprints() -> dict[str, dict[str, str]]:
    """As long as a real worker's."""
    return {"flags": {name: str(value) for name, value in Config().as_dict().items()}}


def chief(job: Job, results: Any) -> None:
    """Worker 0."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (job.nofile, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    count = _count_traffic()
    job.start.wait()
    cpu, began = _CpuSince(job.late_s), time.monotonic()
    try:
        meeting = meet(job.topology(0), 1, Terms(TIMEOUT_S, TIMEOUT_S, "", fingerprints()))
    except Exception as error:
        results.put({"failed": f"worker 0: {error}"})
        return
    found = {"met_s": time.monotonic() - began - job.late_s, "met": dict(count)}
    found["met_cpu_s"] = cpu.seconds
    meeting.watch(PEER_TIMEOUT_S)
    for name, call in {
        "agree_s": lambda: meeting.exchange("0" * 64, lambda _: None, TIMEOUT_S),
        "gather_s": lambda: meeting.gather({"host": "n1", "gpu": "0" * 40}, TIMEOUT_S),
    }.items():
        count.update(dict.fromkeys(count, 0))
        began = time.monotonic()
        call()
        found[name] = time.monotonic() - began
    found["gather"] = dict(count)
    before = time.process_time()
    time.sleep(job.watch_s)
    found["watching_cores"] = (time.process_time() - before) / job.watch_s
    found["open_files"] = psutil.Process().num_fds()
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put({"chief": found})
    time.sleep(TIMEOUT_S)


class _CpuSince:
    """The CPU time of this process since `start_s` seconds after this was made."""

    def __init__(self, start_s: float) -> None:
        self._before = time.process_time()
        timer = threading.Timer(start_s, self._read)
        timer.daemon = True
        timer.start()

    def _read(self) -> None:
        self._before = time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self._before


def _count_traffic() -> dict[str, int]:
    """Counts the bytes of messages from and to this process, from now on."""
    count = {"sent": 0, "received": 0}
    send, data_received = Peer.send, Peer.data_received

    @functools.wraps(send)
    def counted_send(peer: Peer, line: bytes) -> None:
        count["sent"] += len(line)
        send(peer, line)

    @functools.wraps(data_received)
    def counted_data_received(peer: Peer, data: bytes) -> None:
        count["received"] += len(data)
        data_received(peer, data)

    Peer.send, Peer.data_received = counted_send, counted_data_received  # type: ignore[method-assign]
    return count


def others(job: Job, ranks: Sequence[int], results: Any) -> None:
    """Some of the other workers, in one process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What each worker does on a host of its own is done here by thousands on the same cores.
    deadline.ROUND_S = SIMULATED_ROUND_S
    messages.unpack = functools.lru_cache(64)(messages.unpack)
    if job.reachable:
        reachability.failures = _no_failures
    gc.disable()
    asyncio.run(_others(job, ranks, results))


async def _no_failures(*_: Any) -> dict[int, str]:
    return {}


async def _others(job: Job, ranks: Sequence[int], results: Any) -> None:
    clock = Clock()
    ticking = asyncio.create_task(clock.run())
    workers = [_Worker(job, rank, clock) for rank in ranks]
    job.start.wait()
    cpu = _CpuSince(job.late_s)
    ended = await asyncio.gather(*(worker.meet() for worker in workers), return_exceptions=True)
    groups = [found for found in ended if isinstance(found, Group)]
    problems = [found for found in ended if not isinstance(found, Group)]
    if problems:
        results.put({"failed": f"{len(problems)} of {len(ranks)} workers, such as: {problems[0]}"})
        return
    met_cpu_s = cpu.seconds
    await asyncio.gather(*map(_exchange, groups))
    known = list[float]()
    for group in groups:
        group.loss.add_done_callback(lambda _: known.append(time.monotonic()))
    results.put({"ready": len(groups)})
    await asyncio.wait([group.loss for group in groups])
    results.put({"known": known, "cpu_s": met_cpu_s, "loss": groups[0].loss.result()[0]})
    ticking.cancel()
    await asyncio.sleep(TIMEOUT_S)


class _Worker:
    """A worker other than worker 0."""

    def __init__(self, job: Job, rank: int, clock: Clock) -> None:
        self._topology = topology = job.topology(rank)
        self._start_s = job.late_s if rank % round(1 / LATE_SHARE) == 1 else 0.0
        self._clock = clock
        self._listener = ports.listen(topology.port, 2 * topology.num_workers, topology.host)
        self._own = handshake.Handshake(
            rank,
            f"n{rank}",
            os.getpid(),
            job.addresses[rank],
            1,
            _digest(job.addresses),
            fingerprints(),
        )

    async def meet(self) -> Group:
        """Returns when all have met."""
        await asyncio.sleep(self._start_s)
        end = MeetingDeadline(self._own.name, TIMEOUT_S, self._clock, str)
        return await rendezvous(self._topology, self._own, self._listener, end)


async def _exchange(group: Group) -> None:
    """Starts the heartbeats and exchanges two values."""
    group.watch(PEER_TIMEOUT_S)
    for value in ("0" * 64, {"host": "n1", "gpu": "0" * 40}):
        await group.exchange(value, lambda _: None, TIMEOUT_S)


_digest = functools.cache(handshake.digest)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Starts all processes, kills the last worker, and returns what they found."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    # Worker 0 listens on its port on all addresses.
    addresses = tuple(
        f"127.1.{rank // 250}.{rank % 250 + 1}:{PORT + (rank > 0)}" for rank in range(given.workers)
    )
    last = given.workers - 1
    shared = [range(1, last)[first :: given.processes] for first in range(given.processes)]
    by_process = [[last], *filter(len, shared)]
    start = context.Barrier(1 + len(by_process))
    late_s = LATE_S if given.late else 0.0
    job = Job(addresses, late_s, given.reachable, given.nofile, given.watch_s, start)
    started = [context.Process(target=chief, args=(job, results))]
    for ranks in by_process:
        started.append(context.Process(target=others, args=(job, ranks, results)))
    for process in started:
        process.start()
    try:
        found = {"known": list[float](), "others_cpu_s": 0.0}
        ready = 0
        while ready < len(started):
            ready += 1
            found |= _next(results).get("chief", {})
        killed = time.monotonic()
        started[1].kill()
        for _ in started[2:]:
            one = _next(results)
            found["known"] += [when - killed for when in one["known"]]
            found["others_cpu_s"] += one["cpu_s"]
            found["loss"] = one["loss"]
        return found
    finally:
        for process in started:
            process.kill()


def _next(results: Any) -> dict[str, Any]:
    try:
        found = results.get(timeout=TIMEOUT_S)
    except queue.Empty:
        raise SystemExit(f"nothing for {TIMEOUT_S:g} s") from None
    if "failed" in found:
        raise SystemExit(found["failed"])
    return found


def lines(found: dict[str, Any], workers: int, late: bool) -> list[str]:
    """The result as text."""
    since = "after the late ones started" if late else "after the start"
    others_ms = 1000 * found["others_cpu_s"] / (workers - 1)
    known = sorted(found["known"])
    return [
        f"all have met {found['met_s']:.2f} s {since}; CPU {found['met_cpu_s']:.2f} s, "
        f"{_traffic(found['met'])}",
        f"agree {found['agree_s']:.2f} s, gather {found['gather_s']:.2f} s, "
        f"{_traffic(found['gather'])}",
        f"{found['open_files']} open files, at most {found['peak_mb']:.0f} MB of memory, "
        f"{found['watching_cores']:.3f} cores for heartbeats",
        f"the death of one was known to {len(known)} workers {known[len(known) // 2]:.2f} s "
        f"(median) and {known[-1]:.2f} s (all) later: {found['loss']}",
        f"the other workers' CPU from then until they had met: {found['others_cpu_s']:.1f} s "
        f"together, {others_ms:.2f} ms each",
    ]


def _traffic(count: dict[str, int]) -> str:
    return f"{count['sent'] / 1e6:.2f} MB sent, {count['received'] / 1e6:.2f} MB received"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1024)
    parser.add_argument("--somaxconn", type=int, default=128)
    parser.add_argument("--nofile", type=int, default=1024, help="worker 0's soft limit of files")
    parser.add_argument("--late", action="store_true", help="3 %% of the workers, by 30 s")
    parser.add_argument(
        "--reachable", action="store_true", help="simulated workers don't try to reach each other"
    )
    parser.add_argument(
        "--watch_s", type=float, default=10.0, help="for which heartbeats are timed"
    )
    parser.add_argument("--processes", type=int, default=4, help="that share the other workers")
    given = parser.parse_args()
    if given.workers < 3:
        parser.error("--workers must be at least 3: worker 0, one that dies, one that hears of it")
    if INSIDE not in os.environ:
        words = [sys.executable, "-m", "benchmarks.meeting", *sys.argv[1:]]
        ended = subprocess.run(
            ["unshare", "--map-root-user", "--net", *words], env={**os.environ, INSIDE: "1"}
        )
        raise SystemExit(ended.returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with open("/proc/sys/net/core/somaxconn", "w") as file:
        file.write(str(given.somaxconn))
    load = os.getloadavg()[0]
    found = run(given)
    print(
        f"{given.workers} workers, somaxconn {given.somaxconn}, ulimit -n {given.nofile}, "
        f"{os.cpu_count()} cores, load average before {load:.1f}"
    )
    print("\n".join(lines(found, given.workers, given.late)), flush=True)


if __name__ == "__main__":
    main()
