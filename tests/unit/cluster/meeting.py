"""Workers for the tests of rendezvous and liveness: plain processes, no TensorFlow."""

import functools
import itertools
import json
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

WORKER = """
import json, os, resource, socket, sys, threading
from mnist_dist.errors import RunError, ToldToStop, UsageError
from mnist_dist.cluster.rendezvous import Terms, meet
from mnist_dist.cluster.topology import Topology
from mnist_dist.training.stop import Stop

spec = json.loads(sys.argv[1])
if spec["open_files"]:
    resource.setrlimit(resource.RLIMIT_NOFILE, spec["open_files"])
topology = Topology(tuple(spec["workers"]), spec["rank"], "tf_config", spec["run"],
                    spec["candidates"], chief_hosts=tuple(spec["chief_hosts"]))
fingerprints = {"flags": spec["flags"], "versions": {}}
stop = Stop()
stop.listen()
look_up = socket.getaddrinfo
def late(host, *arguments, **more):
    # of names that another process has to make first, as a file
    if host == "late" and not os.path.exists(spec["names"]):
        raise socket.gaierror(socket.EAI_NONAME, "not known yet")
    return look_up("127.0.0.1" if host == "late" else host, *arguments, **more)
socket.getaddrinfo = late
meeting = None
def say(**words):
    print(json.dumps(words), flush=True)
try:
    terms = Terms(spec["timeout_s"], spec["peer_timeout_s"], spec["interface"], fingerprints,
                  spec["folder"])
    meeting = meet(topology, spec["devices"], terms, lambda: stop.signal_name)
    meeting.watch(spec["peer_timeout_s"])
    say(met=meeting.workers)
    for line in sys.stdin:
        order, _, value = line.strip().partition(" ")
        if order == "step":
            meeting.report_step(int(value))
        elif order == "gather":
            say(gathered=meeting.gather(json.loads(value), spec["gather_s"]))
        elif order == "fail":
            raise RunError(value)
        elif order == "usage":
            raise UsageError(value)
        elif order == "part":
            meeting.goodbye()
            say(left=True)  # and its process lives on
        elif order == "goodbye":
            meeting.goodbye()
            say(left=True)
            sys.exit(0)
    threading.Event().wait()  # as a worker hanging in a collective
except ToldToStop as error:
    print(error, file=sys.stderr)
    sys.exit(75)
except (RunError, UsageError) as error:
    if meeting is not None:
        meeting.fail(str(error), usage=isinstance(error, UsageError))
    print(error, file=sys.stderr)
    sys.exit(2 if isinstance(error, UsageError) else 1)
"""


PORTS, BLOCK = range(8000, 15000), 250
"""Below those that the launchers choose from, and the kernel for outgoing connections."""

NUMBERS = itertools.count()


@functools.cache
def block():
    """The first of BLOCK ports that no other process of tests gets while this one lives.

    What claims them is a name without a file, which the kernel frees with the process.
    """
    for first in PORTS[::BLOCK]:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0mnist_dist-tests-ports-{first}")
        except OSError:
            claim.close()
            continue
        return first, claim
    raise RuntimeError(f"all of the ports {PORTS} are claimed by other tests")


def free_ports(count):
    """Ports that are free now, and that no other test takes before they are used."""
    found = []
    while len(found) < count:
        port = block()[0] + next(NUMBERS) % BLOCK
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            found.append(port)
    return found


class Worker:
    """One process; what it prints is read with a deadline."""

    def __init__(self, workers, rank, stderr=subprocess.PIPE, prefix=(), **changes):
        spec = {
            "workers": workers, "rank": rank, "run": "run-a", "candidates": 1, "devices": 1,
            "flags": {"lr": "0.01"}, "timeout_s": 100.0, "peer_timeout_s": 10.0, "interface": "",
            "gather_s": 10.0, "names": "", "folder": "", "chief_hosts": [], "open_files": None,
            **changes,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", WORKER, json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
        )

    def tell(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def heard(self):
        """The next thing it said."""
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.process.communicate()[1]}"
        return json.loads(line)

    def end(self, deadline_s=100.0):
        """Its exit code and what it wrote to standard error."""
        text = self.process.communicate(timeout=deadline_s)[1]
        return self.process.returncode, text.strip()


def addresses(count, stride=1):
    """host:port of `count` workers on this machine."""
    return [f"127.0.0.1:{port}" for port in free_ports(count * stride)[:count]]
