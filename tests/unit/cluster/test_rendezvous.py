"""Workers meet: real processes and sockets, each way to fail provoked."""

import collections
import contextlib
import json
import resource
import signal
import socket
import threading

import psutil
import pytest

from mnist_dist.cluster import ports
from mnist_dist.cluster.topology import Topology
from mnist_dist.errors import UsageError
from tests.unit.cluster.meeting import addresses, free_ports
from tests.waiting import wait_for


@contextlib.contextmanager
def occupied(port):
    """Something else listens on the port, and says nothing."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen()
        yield


def connect(address):
    """A connection to host:port, as soon as something listens there."""
    host, _, port = address.rpartition(":")
    found = []

    def connected():
        with contextlib.suppress(OSError):
            found.append(socket.create_connection((host, int(port)), 1))
        return found

    wait_for(f"listener on {address}", connected, 30)
    return found[0]


@contextlib.contextmanager
def introduced(workers, rank):
    """A worker that has met worker 0, and leaves at the end: what it is told, line by line."""
    with connect(workers[0]) as connection, connection.makefile("r") as lines:
        connection.settimeout(20)
        connection.sendall(hello(rank=rank, address=workers[rank]))
        assert json.loads(lines.readline()) == {"met": True}
        yield connection, lines


def run_all(start, workers, changes):
    """All workers at once: their exit codes and errors."""
    return [worker.end() for worker in [start(workers, r, **c) for r, c in enumerate(changes)]]


def test_all_get_the_same_addresses(start):
    workers = addresses(3)
    met = [start(workers, rank) for rank in range(3)]
    assert [worker.heard() for worker in met] == [{"met": workers}] * 3


def test_workers_may_start_long_before_worker_0(start):
    workers = addresses(2)
    late = start(workers, 1)
    connect(workers[1]).close()
    assert start(workers, 0).heard() == late.heard() == {"met": workers}


def test_taken_ports_give_way_to_the_next_candidates(start):
    first = free_ports(1)[0]
    workers = [f"127.0.0.1:{first + rank}" for rank in range(2)]
    with occupied(first), occupied(first + 1):
        met = [start(workers, rank, candidates=3) for rank in range(2)]
        expected = {"met": [f"127.0.0.1:{first + 2 + rank}" for rank in range(2)]}
        assert [worker.heard() for worker in met] == [expected] * 2


def test_a_taken_port_without_candidates_is_named(start):
    workers = addresses(2)
    port = int(workers[1].split(":")[1])
    with occupied(port):
        code, text = start(workers, 1).end()
    assert code == 2
    assert f"port {port} of host {socket.gethostname()} is in use" in text


def test_a_peer_that_never_comes_is_named_to_all(start):
    workers = addresses(3)
    ends = run_all(start, workers, [{"timeout_s": 2.0}, {"timeout_s": 2.0}])
    for code, text in ends:
        assert code == 1
        assert f"after 2 s worker 2 ({workers[2]}) did not come" in text


def test_worker_0_that_never_comes_is_named(start):
    workers = addresses(2)
    code, text = start(workers, 1, timeout_s=1.0).end()
    assert code == 1
    assert f"worker 0 ({workers[0]}) did not answer" in text


def test_an_unknown_host_of_worker_0_is_named(start):
    code, text = start(["no-such-host.invalid:20001", addresses(1)[0]], 1, timeout_s=1.0).end()
    assert code == 1
    assert "worker 1 (host" in text
    assert "'no-such-host.invalid' of worker 0 can't be found" in text


def test_an_unknown_host_of_another_worker_is_named_to_all(start):
    first, second = addresses(2)
    workers = [first, f"no-such-host.invalid:{second.split(':')[1]}"]
    for code, text in run_all(start, workers, [{"timeout_s": 2.0}] * 2):
        assert code == 1
        assert f"worker 0 (host {socket.gethostname()}) can't reach worker 1 (host " in text
        assert f"at {workers[1]}" in text


def test_other_flags_are_named_to_all(start):
    changes = [{}, {"flags": {"lr": "0.02"}}, {}]
    for code, text in run_all(start, addresses(3), changes):
        assert code == 2
        assert "worker 1 (host" in text
        assert "has --lr=0.02, worker 0 (host" in text
        assert "--lr=0.01; start all with the same flags" in text


def test_another_number_of_devices_is_named_to_all(start):
    for code, text in run_all(start, addresses(2), [{}, {"devices": 2}]):
        assert code == 2
        assert "has 2 device(s), worker 0 1" in text


def test_one_index_twice_is_named_to_all(start):
    workers = addresses(3)
    # Different ports, as on different hosts: only the index is the same.
    other = [workers[0], workers[2], workers[1]]
    started = [start(workers, 0), start(workers, 1), start(other, 1)]
    pids = sorted(str(worker.process.pid) for worker in started[1:])
    for code, text in [worker.end() for worker in started]:
        assert code == 2
        assert "two workers have index 1" in text
        assert all(f"process {pid} on host {socket.gethostname()}" in text for pid in pids)


def test_a_worker_ended_and_started_again_meanwhile_is_no_second_one(start):
    workers = addresses(3)
    chief = start(workers, 0)
    with introduced(workers, 1):
        pass  # it has met worker 0, and is ended before the others came
    others = [start(workers, 1), start(workers, 2)]
    assert [worker.heard() for worker in (chief, *others)] == [{"met": workers}] * 3


def test_another_run_on_the_port_is_passed_over(start):
    first = free_ports(1)[0]
    workers = [f"127.0.0.1:{first + rank}" for rank in range(2)]
    start(workers, 0, candidates=2, run="run-b")  # its other worker is yet to come
    connect(workers[0]).close()
    met = [start(workers, rank, candidates=2) for rank in range(2)]
    ours = {"met": [f"127.0.0.1:{first + 2}", f"127.0.0.1:{first + 1}"]}
    assert [worker.heard() for worker in met] == [ours] * 2


def test_another_run_without_candidates_is_said(start):
    workers = addresses(2)
    start(workers, 0, run="run-b")
    code, text = start(workers, 1, timeout_s=2.0).end()
    assert code == 1
    assert "another run listens on port" in text


def hello(**changes):
    """What worker 1 says first, with other fields, as a line."""
    word = {
        "protocol": "mnist_dist-4", "token": "run-a", "rank": 1, "host": "n1", "pid": 1,
        "address": "127.0.0.1:2000", "devices": 1, "topology": "",
        "fingerprints": {"flags": {"lr": "0.01"}, "versions": {}}, **changes,
    }  # fmt: skip
    given = {name: value for name, value in word.items() if value is not None}
    return json.dumps(given).encode() + b"\n"


STRANGERS = {
    b"GET / HTTP/1.0\r\n\r\n": "Expecting value",
    b"[1, 2]\n": "a line that isn't a JSON object",
    b"\xff\xfe\n": "invalid start byte",
    b"[" * 100_000 + b"\n": "nested too deeply",
    b'{"a":' * 100_000 + b"\n": "nested too deeply",
    b'{"rank": ' + b"1" * 5000 + b"}\n": "a number of 5000 digits",
    b"x" * 1_200_000: "a line of more than 131,072 bytes",
    hello(rank=None): "a handshake whose rank isn't a number",
    hello(rank="1"): "a handshake whose rank isn't a number",
    hello(rank=True): "a handshake whose rank isn't a number",
    hello(rank=-1): "a handshake whose rank isn't a number",
    hello(host=["n1"]): "a handshake whose host isn't a short text",
    hello(host="n" * 301): "a handshake whose host isn't a short text",
    hello(address="n1"): "isn't host:port",
    hello(devices=[]): "a handshake whose devices isn't a number",
    hello(fingerprints=None): "a handshake whose fingerprints",
    hello(fingerprints={"flags": {"lr": {}}}): "a handshake whose fingerprints",
    hello(token="run-b"): "",
    hello(token=None): "",
    b"{}\n": "",
}


def test_strangers_do_not_disturb(start):
    """Each is dropped, with a line in the log where it spoke like a worker of this run or worse."""
    workers = addresses(2)
    chief = start(workers, 0, timeout_s=60.0)
    connections = [connect(workers[0])]  # one who says nothing ...
    for words in STRANGERS:
        connections.append(connect(workers[0]))
        with contextlib.suppress(ConnectionError):  # it may hang up before all is said
            connections[-1].sendall(words)
    assert start(workers, 1, timeout_s=60.0).heard() == chief.heard() == {"met": workers}
    for connection in connections:
        connection.close()
    chief.tell("fail enough")
    log = chief.end()[1].splitlines()[:-1]
    assert {line.partition(": dropped")[0] for line in log} == {
        f"mnist_dist: worker 0 (host {socket.gethostname()})"
    }
    for said in STRANGERS.values():
        assert any(said in line for line in log), (said, log)
    assert max(map(len, log)) < 200


def test_silent_strangers_do_not_delay_the_start(start):
    """They fill the accept queue's place in line before any worker; each may stay for a second."""
    workers = addresses(2)
    chief = start(workers, 0, timeout_s=30.0)
    silent = [connect(workers[0]) for _ in range(40)]  # one after another they would take 40 s
    assert start(workers, 1, timeout_s=30.0).heard() == chief.heard() == {"met": workers}
    for connection in silent:
        connection.close()


@contextlib.contextmanager
def flood(address):
    """Connections to host:port that say nothing, as fast as they are accepted."""
    host, _, port = address.rpartition(":")
    over = threading.Event()

    def send():
        held = collections.deque()
        while not over.is_set():
            with contextlib.suppress(OSError):
                held.append(socket.create_connection((host, int(port)), 1))
            if len(held) > 100:
                held.popleft().close()
        for connection in held:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def test_a_flood_of_connections_does_not_suspend_the_timeout(start):
    workers = addresses(2)
    chief = start(workers, 0, timeout_s=3.0)
    connect(workers[0]).close()
    with flood(workers[0]):
        code, text = chief.end(20)
    assert code == 1
    assert f"after 3 s worker 1 ({workers[1]}) did not come" in text


def test_a_flood_of_connections_does_not_suspend_signals(start):
    workers = addresses(2)
    chief = start(workers, 0, timeout_s=300.0)
    connect(workers[0]).close()
    with flood(workers[0]):
        chief.process.send_signal(signal.SIGTERM)
        code, text = chief.end(20)
    assert code == 75
    assert "told to stop by SIGTERM while waiting for worker 1" in text


def test_a_worker_is_admitted_during_a_flood(start):
    workers = addresses(2)
    chief = start(workers, 0)
    connect(workers[0]).close()
    with flood(workers[0]):
        other = start(workers, 1)
        assert other.heard() == chief.heard() == {"met": workers}


def test_a_worker_among_many_strangers_is_heard_before_it_is_dropped(start):
    """More come at one moment than may stay, all of them after the worker."""
    workers = addresses(2)
    chief = start(workers, 0)
    with connect(workers[0]) as first, first.makefile("r") as lines:
        first.sendall(hello(token="run-b"))
        assert json.loads(lines.readline()) == {"other": True}  # so it accepts connections
    chief.process.send_signal(signal.SIGSTOP)
    process = psutil.Process(chief.process.pid)
    wait_for("its stop", lambda: process.status() == psutil.STATUS_STOPPED, 30)
    with connect(workers[0]) as worker, worker.makefile("r") as lines:
        worker.settimeout(20)
        worker.sendall(hello(address=workers[1]))
        strangers = [connect(workers[0]) for _ in range(700)]
        chief.process.send_signal(signal.SIGCONT)
        assert json.loads(lines.readline()) == {"met": True}
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize(("hard", "enough"), [(771, False), (772, True)])
def test_a_low_limit_of_open_files_is_refused_with_the_number(start, hard, enough):
    """Two workers need 2 x 2 + 768; the soft limit is raised if the hard one allows it."""
    workers = addresses(2)
    chief = start(workers, 0, open_files=(64, hard))
    other = start(workers, 1, timeout_s=60.0)
    if enough:
        assert other.heard() == chief.heard() == {"met": workers}
        assert resource.prlimit(chief.process.pid, resource.RLIMIT_NOFILE) == (772, 772)
    else:
        code, text = chief.end()
        assert code == 2
        assert "worker 0 needs 772 open files for 2 workers, and the hard limit is 771" in text
        assert "ulimit -Hn 772" in text


def test_a_worker_that_speaks_nonsense_later_is_named(start):
    workers = addresses(2)
    chief = start(workers, 0)
    with occupied(int(workers[1].split(":")[1])), introduced(workers, 1) as (connection, lines):
        assert "try" in json.loads(lines.readline())
        connection.sendall(b'{"tried": {}}\n')
        assert "host" in json.loads(lines.readline())
        connection.sendall(b'{"beat": "soon"}\n')
        code, text = chief.end()
    assert code == 1
    assert "worker 1 (host n1) sent what is no message: a beat that isn't a step" in text


@pytest.mark.parametrize("late", [0, 1])
def test_a_name_that_resolves_late_is_waited_for(start, tmp_path, late):
    workers = addresses(2)
    workers[late] = workers[late].replace("127.0.0.1", "late")
    names = tmp_path / "names"
    others = [start(workers, rank, names=str(names), timeout_s=60.0) for rank in (0, 1)]
    line = others[1 - late].process.stderr.readline()  # said after some seconds
    assert f"host 'late' of worker {late} can't be found yet (not known yet)" in line
    names.touch()
    assert [worker.heard() for worker in others] == [{"met": workers}] * 2


def test_workers_meet_over_ipv6(start):
    workers = [address.replace("127.0.0.1", "[::1]") for address in addresses(2)]
    met = [start(workers, rank) for rank in range(2)]
    assert [worker.heard() for worker in met] == [{"met": workers}] * 2


@pytest.mark.parametrize("rank", [0, 1])
def test_told_to_stop_while_waiting_it_leaves_and_says_for_whom_it_waited(start, rank):
    workers = addresses(2)
    worker = start(workers, rank, timeout_s=300.0)
    connect(workers[rank]).close()
    worker.process.send_signal(signal.SIGTERM)
    code, text = worker.end(10)
    assert code == 75
    waited = f"worker {1 - rank} ({workers[1 - rank]})"
    assert text.endswith(f": told to stop by SIGTERM while waiting for {waited}")


def test_a_silent_server_in_the_place_of_worker_0_is_no_hang(start):
    workers = addresses(2)
    with occupied(int(workers[0].split(":")[1])):
        code, text = start(workers, 1, timeout_s=1.0).end()
    assert code == 1
    assert "did not answer" in text


def test_an_unknown_interface_lists_those_there(start):
    code, text = start(addresses(2), 1, interface="ib7").end()
    assert code == 2
    assert "--interface=ib7" in text
    assert "it has " in text
    assert "lo" in text


def test_the_address_of_the_interface_is_used(start):
    workers = [address.replace("127.0.0.1", "localhost") for address in addresses(2)]
    met = [start(workers, rank, interface="lo") for rank in range(2)]
    expected = [address.replace("localhost", "127.0.0.1") for address in workers]
    assert [worker.heard() for worker in met] == [{"met": expected}] * 2


@pytest.mark.parametrize(
    ("host", "rank", "chosen", "listens"),
    [
        ("localhost", 0, "127.0.0.1", "127.0.0.1"),
        ("nowhere.invalid", 0, "127.0.0.1", ""),  # by which the others may come
        ("nowhere.invalid", 1, "127.0.0.1", "127.0.0.1"),  # who come to the address
        ("localhost", 1, "", ""),
    ],
)
def test_it_listens_where_the_others_come(host, rank, chosen, listens):
    """By the name for worker 0; what listens elsewhere is in the way of TensorFlow's server."""
    port = free_ports(1)[0]
    topology = Topology(tuple(f"{host}:{port}" for _ in range(2)), rank, "tf_config", "token")
    with ports.listen(port) as listener:
        everywhere = listener.getsockname()[0]
    listener, found = ports.claim(topology, chosen)
    with listener:
        assert listener.getsockname()[:2] == (listens or everywhere, port)
    assert found == port
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))
        other.listen()
        with pytest.raises(UsageError, match="is in use; end what uses it"):
            ports.claim(topology, chosen)


def test_a_worker_that_leaves_after_its_hello_is_named(start):
    workers = addresses(3)
    chief = start(workers, 0)
    with occupied(int(workers[1].split(":")[1])), introduced(workers, 1) as (_, lines):
        other = start(workers, 2)
        assert "try" in json.loads(lines.readline())  # all have come; it leaves without an answer
    for code, text in [chief.end(), other.end()]:
        assert code == 1
        assert "worker 1 (host n1) came, but then was gone" in text


def test_the_port_is_free_for_another_server_while_connections_stay(start):
    workers = addresses(2)
    met = [start(workers, rank) for rank in range(2)]
    for worker in met:
        worker.heard()
    for address in workers:
        with occupied(int(address.split(":")[1])):
            pass
    for number, worker in enumerate(met):
        worker.tell(f"gather {number}")
    assert met[0].heard() == met[1].heard() == {"gathered": [0, 1]}


def by_file(start, folder, ranks, size, **changes):
    """Workers that find worker 0 by a file in `folder`."""
    changes = {"candidates": 1, "folder": str(folder), **changes}
    return [start([""] * size, rank, **changes) for rank in ranks]


def test_workers_without_addresses_meet_by_a_file(start, tmp_path):
    early = by_file(start, tmp_path, (1, 2), 3)
    met = [worker.heard()["met"] for worker in by_file(start, tmp_path, (0,), 3) + early]
    assert met[0] == met[1] == met[2]
    assert len({address for address in met[0] if address.split(":")[1]}) == 3
    assert not list(tmp_path.iterdir())


def test_a_file_of_a_dead_start_is_passed_over(start, tmp_path):
    """Worker 0 of that start listens no more, or is dying and still listens."""
    [dead] = by_file(start, tmp_path, (0,), 3)
    found = []

    def written():  # its draft has a longer name
        found[:] = [path for path in tmp_path.glob(".meeting-*") if not path.suffix]
        return found

    wait_for("its file", written, 30)
    [file] = found
    [misled] = by_file(start, tmp_path, (1,), 3)
    port = json.loads(file.read_text())["port"]
    connect(f"127.0.0.1:{port}").close()
    dead.process.kill()
    dead.process.wait()
    assert file.exists()
    others = by_file(start, tmp_path, (0, 2), 3)
    met = [worker.heard() for worker in (misled, *others)]
    assert met[0] == met[1] == met[2]


def test_no_file_is_said(start, tmp_path):
    [worker] = by_file(start, tmp_path, (1,), 2, timeout_s=1.0)
    code, text = worker.end()
    assert code == 1
    assert f"after 1 s there is no {tmp_path}/.meeting-" in text
    assert "share that folder (--run_dir), or set MASTER_ADDR and MASTER_PORT" in text


def test_a_worker_without_address_that_never_comes_is_named(start, tmp_path):
    for worker in by_file(start, tmp_path, (0, 1), 3, timeout_s=2.0):
        code, text = worker.end()
        assert code == 1
        assert "after 2 s worker 2 did not come" in text


def test_workers_without_addresses_meet_at_that_of_worker_0(start):
    """A name of worker 0 that leads nowhere is followed by one that does."""
    port = free_ports(1)[0]
    workers = [f"no-such-host.invalid:{port}", "", ""]
    met = [start(workers, rank, chief_hosts=["127.0.0.1"]) for rank in range(3)]
    found = [worker.heard()["met"] for worker in met]
    assert found[0] == found[1] == found[2]
    assert {address.split(":")[0] for address in found[0][1:]} == {"127.0.0.1"}
