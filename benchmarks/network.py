"""Compares the bench's prediction with two and three workers over links of known rate and delay.

    python -m benchmarks.network [--settings=200:0,200:2] [--mtu=9000] [FLAG-OF-THE-TRAINER ...]

A setting is Mbit/s, a colon, and ms of delay in each direction; a faster link needs a larger
--mtu (bytes, up to 65,000), or the process that packets go through doesn't keep up. Each worker
is in a network namespace of its own, with a core of its own as long as there are enough, and has
one link to the others: `tc tbf` gives it its rate, and a process that all packets go through their
delay (`tc netem`, which gives both, isn't in every kernel). `python -m mnist_dist.bench` runs on
three of them, so on 1, 2 and 3 replicas. What the step of 2 and 3 workers takes is then compared
with what follows from the all-reduce of 2 workers, and from each worker's own step while the
others are as busy, since three workers on two cores compute more slowly than two. Needs root and
iproute2.
"""

import argparse
import contextlib
import fcntl
import heapq
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from mnist_dist.bench import model

ROOT = Path(__file__).resolve().parents[1]
NETWORK = "10.213.78"
PORT = 21789
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def run(*words: str) -> None:
    subprocess.run(words, check=True)


class Links:
    """Network namespaces with a link each to all others.

    Args:
        count: how many.
        mbits: what a link sends, in Mbit/s.
        delay_s: what a packet takes besides, one way.
        mtu: the largest packet, in bytes.
    """

    def __init__(self, count: int, mbits: float, delay_s: float, mtu: int) -> None:
        self.names = [f"mdlink{os.getpid()}-{number}" for number in range(count)]
        self.addresses = [f"{NETWORK}.{number + 1}" for number in range(count)]
        self._ends, self._delay_s, self._mtu = list[int](), delay_s, mtu
        for name, address in zip(self.names, self.addresses, strict=True):
            run("ip", "netns", "add", name)
            self._ends.append(self._link(name, address, mbits))
        self._relay = os.fork()
        if not self._relay:
            self._carry()

    def _link(self, name: str, address: str, mbits: float) -> int:
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = name.replace("mdlink", "md")
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
        run("ip", "link", "set", device, "netns", name)
        for words in (
            f"address add {address}/24 dev {device}",
            f"link set {device} mtu {self._mtu} up",
            "link set lo up",
        ):
            run("ip", "-n", name, *words.split())
        # A bucket of little more than a packet: a real link has none.
        shape = f"root tbf rate {mbits}mbit burst {self._mtu + 1000} limit 16mb"
        run("tc", "-n", name, "qdisc", "add", "dev", device, *shape.split())
        return end

    def _carry(self) -> None:
        """Passes packets on, each when its delay is over, till it is killed."""
        os.nice(-10)
        due: list[tuple[float, int, int, bytes]] = []
        number = 0
        while True:
            wait = max(due[0][0] - time.monotonic(), 0.0) if due else None
            for end in select.select(self._ends, [], [], wait)[0]:
                with contextlib.suppress(BlockingIOError):
                    packet = os.read(end, self._mtu + 100)
                    number += 1
                    to = packet[19] - 1 if packet[0] >> 4 == 4 else -1  # its address' last byte
                    if 0 <= to < len(self._ends):
                        heapq.heappush(due, (time.monotonic() + self._delay_s, number, to, packet))
            while due and due[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(due)
                with contextlib.suppress(BlockingIOError):  # as a full queue drops
                    os.write(self._ends[to], packet)

    def close(self) -> None:
        os.kill(self._relay, 9)
        os.waitpid(self._relay, 0)
        for name, end in zip(self.names, self._ends, strict=True):
            os.close(end)
            run("ip", "netns", "delete", name)


@contextlib.contextmanager
def links(count: int, mbits: float, delay_s: float, mtu: int) -> Iterator[Links]:
    made = Links(count, mbits, delay_s, mtu)
    try:
        yield made
    finally:
        made.close()


def bench(made: Links, flags: list[str]) -> dict[str, Any]:
    """The bench's report on a worker in each namespace."""
    workers = [f"{address}:{PORT}" for address in made.addresses]
    cores = sorted(psutil.Process().cpu_affinity() or [0])
    with tempfile.TemporaryDirectory() as folder:
        report, processes = Path(folder, "report.json"), []
        for rank, name in enumerate(made.names):
            config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
            words = ["nsenter", f"--net=/var/run/netns/{name}", sys.executable]
            words += ["-m", "mnist_dist.bench", "--no_gpu", f"--json={report}", *flags]
            environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
            environment["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
            process = subprocess.Popen(
                ["taskset", "-c", str(cores[rank % len(cores)]), *words],
                env=environment,
                stdout=sys.stderr if rank == 0 else subprocess.DEVNULL,
            )
            processes.append(process)
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"the workers' exit codes are {codes}")
        return json.loads(report.read_text())


def rows(report: dict[str, Any]) -> Iterator[list[str]]:
    """Of 2 and 3 workers, weak and strong: predicted, measured, error."""
    two = report["levels"][1]
    timings = [(2, s, t) for s, t in zip(*two["all_reduce"].values(), strict=True)]
    ring = model.fit_ring(timings, {two[way]["bytes"] // 4 * 4 for way in ("weak", "strong")})
    found = f"{1e3 * ring.alpha_s:.2f} ms, {ring.bytes_per_s / 1e6:.1f} MB/s"
    for level in report["levels"][1:]:
        for way in ("weak", "strong"):
            alone, measured = level[way]["alone_s"], level[way]["step_s"]
            sent, replicas = level[way]["bytes"], level["replicas"]
            share = level[way]["gathered_bytes"]
            gathered = ring.gather_seconds(replicas, share)
            predicted = alone + (gathered if share else ring.seconds(replicas, sent))
            if sent < report["bytes"]:  # factors: each forms the product of all others' rows
                rows_of_others = level[way]["images"] * (replicas - 1)
                predicted += two["product_row_s"] * rows_of_others
            cells = [f"{1e3 * seconds:.1f}" for seconds in (alone, predicted, measured)]
            error = f"{100 * (predicted / measured - 1):+.1f} %"
            yield [found, str(replicas), way, f"{sent / 1e6:.2f}", *cells, error]


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="200:0,200:2")
    parser.add_argument("--mtu", type=int, default=9000)
    given, flags = parser.parse_known_args()
    print("| link | alpha, B | workers | scaling | MB | alone, ms | predicted | measured | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for setting in given.settings.split(","):
        mbits, delay_ms = map(float, setting.split(":"))
        with links(3, mbits, delay_ms / 1e3, given.mtu) as made:
            report = bench(made, flags)
        for row in rows(report):
            print(f"| {mbits:g} Mbit/s, {delay_ms:g} ms | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
