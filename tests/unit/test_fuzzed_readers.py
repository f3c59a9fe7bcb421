"""What others wrote, made up: never anything but the package's own error, quickly, in a line."""

import asyncio
import base64
import contextlib
import json
import time
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mnist_dist import flags
from mnist_dist.cluster import handshake, reachability
from mnist_dist.cluster.deadline import Clock, MeetingDeadline
from mnist_dist.cluster.group import Group
from mnist_dist.cluster.hostlist import expand_hostlist
from mnist_dist.cluster.introduction import Introduction
from mnist_dist.cluster.peer import Peer
from mnist_dist.cluster.topology import Topology, from_environment
from mnist_dist.errors import TextRequested, UsageError
from mnist_dist.launch import attempts
from tests.unit.hostile import bounded, fuzzed

DIGITS = st.sampled_from(
    ["0", "1", "3", "007", "999999999", "1" * 30, "9" * 5000, "\u00b2", "-1", ""]
)
NAMES = st.sampled_from(["n", "rack", "-ib", "a.b", "::1", "é", " ", "x" * 300, "\x1b", "\udcff"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | DIGITS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
RAW = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda mark, times: mark * times, st.sampled_from('[{"1a\0,'), st.integers(0, 90_000)
    ),
    JSON.map(json.dumps),
)


def read(reader, *arguments):
    """The reader's answer, or None where it refuses as it should: in one short line."""
    answer = None
    with bounded():
        answer = reader(*arguments)
    return answer


pieces = st.one_of(NAMES, DIGITS, st.sampled_from(["[", "]", ",", "-", "(x", ")"]))
lists = st.one_of(st.lists(pieces, max_size=25).map("".join), RAW)
pairs = st.builds("{}-{}".format, DIGITS, DIGITS)
ranges = st.builds("n[{}]".format, st.lists(pairs | DIGITS, min_size=1, max_size=4).map(",".join))


@fuzzed()
@example("n[1-999999999]")
@example("n[1-65536][1-65536]")
@given(st.lists(ranges | lists, max_size=4).map(",".join))
def test_host_lists(text):
    names = read(expand_hostlist, text)
    assert names is None or len(names) <= 65536


slurm_values = st.one_of(DIGITS, lists, ranges, st.builds("{}(x{})".format, DIGITS, DIGITS))
VARIABLES = [
    *("JOB_ID", "STEP_ID", "STEP_NUM_TASKS", "PROCID", "NODEID", "STEP_NODELIST", "GTIDS"),
    *("STEP_TASKS_PER_NODE", "DISTRIBUTION", "DIST_PLANESIZE", "NTASKS", "JOB_NUM_NODES"),
]
GOOD = {
    **{"JOB_ID": "1", "STEP_ID": "0", "STEP_NUM_TASKS": "3", "PROCID": "0", "NODEID": "0"},
    **{"STEP_NODELIST": "n[1-3]", "STEP_TASKS_PER_NODE": "1(x3)"},
}


@fuzzed()
@example({"STEP_TASKS_PER_NODE": "2(x999999999)"}, None)
@example({"PROCID": "\u00b2"}, None)
@example({}, "n[1-999999999]")
@given(st.dictionaries(st.sampled_from(VARIABLES), slurm_values, max_size=4), st.none() | lists)
def test_slurm_variables(changed, hosts):
    environment = {f"SLURM_{name}": value for name, value in {**GOOD, **changed}.items()}
    if hosts is not None:
        environment["MNIST_DIST_HOSTS"] = hosts
    read(from_environment, environment)


addresses = st.one_of(
    st.builds("{}:{}".format, NAMES, DIGITS), st.builds("[{}]:{}".format, NAMES, DIGITS), JSON
)
configs = st.fixed_dictionaries(
    {
        "cluster": st.one_of(
            st.fixed_dictionaries({"worker": st.lists(addresses, max_size=4)}), JSON
        ),
        "task": st.one_of(
            st.fixed_dictionaries({"type": st.just("worker"), "index": st.integers(-1, 4)}), JSON
        ),
    }
)


@fuzzed()
@given(st.one_of(configs.map(json.dumps), RAW))
def test_tf_config(text):
    read(from_environment, {"TF_CONFIG": text})


@fuzzed()
@given(st.lists(st.one_of(RAW, st.builds("--{}={}".format, st.sampled_from(
    ["lr", "epochs", "conv_filters", "optimizer", "eager", "flagfile", "no_gpu", "x" * 2000]
), RAW)), max_size=5), st.booleans())  # fmt: skip
def test_flags_and_flagfiles(tmp_path, words, in_a_file):
    if in_a_file:
        (tmp_path / "flags").write_text("\n".join(words), errors="replace")
        words = [f"--flagfile={tmp_path}/flags"]
    with contextlib.suppress(TextRequested):
        read(flags.parse, words)


good_handshake = handshake.Handshake(
    1, "n1", 7, "n1:2000", 1, "", {"flags": {}}
).message("token")  # fmt: skip
handshakes = st.dictionaries(st.sampled_from([*good_handshake, "other"]), JSON, max_size=3).map(
    lambda changed: {**good_handshake, **changed}
)


def compressed(text):
    """The same line as a long message is sent."""
    data = base64.b64encode(zlib.compress(text.encode(errors="replace"))).decode()
    return json.dumps({"zlib": data})


def lines(messages):
    """Messages, as text and compressed, and what isn't a message."""
    text = st.one_of(messages.map(json.dumps), RAW)
    return text | text.map(compressed)


def receive(peer, text):
    """What a peer does with a line that comes over the network, and with the end of it."""
    peer.data_received((text + "\n").encode(errors="replace"))
    peer.connection_lost(None)


@fuzzed()
@example(json.dumps({"zlib": base64.b64encode(zlib.compress(bytes(10**9))).decode()}))
@given(lines(handshakes))
def test_handshakes(text):
    """A line as worker 0 reads it from a stranger."""
    found = []
    peer = Peer(Clock(), lambda _, message: found.append(handshake.read(message)), lambda *_: None)
    with bounded():
        receive(peer, text)
        for newcomer in found:
            problem = handshake.compare({0: newcomer._replace(rank=0)}, newcomer, 2)
            assert isinstance(problem, UsageError | None)


messages_later = st.dictionaries(
    st.sampled_from(["beat", "lost", "code", "value", "result", "other"]), JSON, max_size=4
)


@fuzzed()
@given(lines(messages_later), st.sampled_from([0, 1]))
def test_messages_after_the_meeting(text, rank):
    """Whatever comes, the end of the connection or the message itself ends the run."""

    async def loss():
        peer = Peer(Clock(), lambda *_: None, lambda *_: None)
        group = Group(("n1:2000", "n2:2000"), rank, "me", {1 - rank: peer}, Clock())
        receive(peer, text)
        return await group.loss

    with bounded():
        message, code = asyncio.run(loss())
        assert code in (1, 2)
        assert isinstance(message, str)


verdicts = st.dictionaries(
    st.sampled_from(["error", "usage", "try", "host"]),
    st.one_of(JSON, st.lists(addresses, max_size=3), st.dictionaries(DIGITS, addresses)),
    max_size=4,
)


@fuzzed()
@given(lines(verdicts))
def test_what_worker_0_says_until_the_verdict(monkeypatch, text):
    async def verdict():
        deadline = MeetingDeadline("me", 0.1, Clock(), str)
        topology = Topology(("n1:2000", "n2:2000"), 1, "tf_config", "token")
        introduction = Introduction(topology, handshake.read(good_handshake), deadline)
        inbox = introduction._inbox
        peer = Peer(deadline.clock, inbox.on_message, inbox.on_close)
        receive(peer, text)
        return await introduction.hear_verdict(peer)

    async def reached(*_):
        return {}

    monkeypatch.setattr(reachability, "failures", reached)
    with bounded():
        assert len(asyncio.run(verdict()).workers) == 2


records = st.dictionaries(st.sampled_from(["job", "step", "tries"]), JSON, max_size=3)


@fuzzed()
@given(st.one_of(records.map(json.dumps), RAW))
def test_records_of_tries(tmp_path, text):
    path = tmp_path / "attempts.json"
    path.write_text(text, errors="replace")
    with bounded():
        record, damage = attempts.read(path)
    assert damage or record.tries >= 0
    assert len(damage) < 200


def test_the_measure_can_fail():
    def spend(seconds):
        began = time.process_time()
        while time.process_time() - began < seconds:
            pass

    for waste in (lambda: bytearray(400_000_000), lambda: spend(2.1)):
        with pytest.raises(AssertionError), bounded():
            waste()
