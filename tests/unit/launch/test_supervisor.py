"""Who starts again and where, with workers that end as the test says."""

import signal

import pytest

from mnist_dist.errors import ToldToStop
from mnist_dist.launch import supervisor
from mnist_dist.launch.accusation import accusation
from mnist_dist.launch.supervisor import Rules, supervise
from mnist_dist.launch.workers import Workers


class Ended:
    """A worker that has ended."""

    accused = None

    def __init__(self, host, code, lost_code=255):
        self.host, self.lost_code, self._code = host, lost_code, code

    def poll(self):
        return self._code

    def send(self, number):
        pass

    def close(self):
        pass

    def kill(self):
        pass


class Script:
    """A starter: the exit codes of each try, and the hosts that answer before each."""

    def __init__(self, answering, *tries):
        self._answering, self._tries = iter(answering), iter(tries)
        self.started = []

    def hosts(self, again):
        assert again == bool(self.started)
        return list(next(self._answering))

    def start(self, hosts):
        self.started.append("".join(hosts))
        return [Ended(host, code) for host, code in zip(hosts, next(self._tries), strict=True)]


@pytest.fixture
def workers():
    kept = {name: signal.getsignal(name) for name in signal.Signals if name.value < 16}
    yield Workers("test", 1.0)
    for name, handler in kept.items():
        if name not in (signal.SIGKILL, signal.SIGSTOP) and handler is not None:
            signal.signal(name, handler)


@pytest.fixture
def steps(monkeypatch):
    """The newest checkpoint's step, before the first try and after each."""
    given = iter(range(0, 1000, 10))
    monkeypatch.setattr(supervisor, "_newest_step", lambda folder: next(given))


def test_without_restarts_one_try_is_made(workers):
    script = Script([["a", "b"]], [0, 3])
    assert supervise(workers, script, Rules("test")) == 3
    assert script.started == ["ab"]


def test_wrong_bits_decide_the_exit_code(workers):
    """The worker that computed them may end after another, which ends with 1."""
    late = Ended("b", 76)
    polls = iter([None])
    late.poll = lambda: next(polls, 76)
    assert workers.run(lambda: [Ended("a", 1), late]) == 76


@pytest.mark.parametrize(
    ("answering", "tries", "started", "code"),
    [
        (["ab"], [[0, 0]], ["ab"], 0),
        (["ab"], [[2, 1]], ["ab"], 2),
        (["ab", "ab"], [[1, 255], [0, 0]], ["ab", "ab"], 0),  # a host that answers again
        (["abc", "ab"], [[1, 1, 255], [0, 0]], ["abc", "ab"], 0),
        (["abc", "abc", "abc"], [[1, 1, 255], [1, 1, 255], [0, 0]], ["abc", "abc", "ab"], 0),
        (["ab", "ab"], [[75, 75], [0, 0]], ["ab", "ab"], 0),
        (["ab", ""], [[1, 255]], ["ab"], 1),
    ],
)
def test_it_goes_on_where_it_can(workers, steps, answering, tries, started, code):
    script = Script(answering, *tries)
    assert supervise(workers, script, Rules("test", 3)) == code
    assert script.started == started


def test_shards_choose_the_number_and_a_spare_steps_in(workers, steps, capsys):
    script = Script(["abc", "ac"], [1, 255], [0, 0])
    assert supervise(workers, script, Rules("test", 3, shards=8)) == 0
    assert script.started == ["ab", "ac"]
    said = capsys.readouterr().err
    assert "test: 2 workers, over which --shards divides; not used: c\n" in said
    assert "test: worker 1 (b) lost: starts again from step 10\n" in said


def test_no_progress_ends_it(workers, monkeypatch, capsys):
    monkeypatch.setattr(supervisor, "_newest_step", lambda folder: 7)
    script = Script(["a"] * 9, *[[1]] * 9)
    assert supervise(workers, script, Rules("test", 2)) == 1
    assert script.started == ["a"] * 3
    said = "test: 2 restarts brought no newer checkpoint: not started again; "
    assert f"{said}the newest checkpoint is of step 7\n" in capsys.readouterr().err


def test_nothing_saved_at_all(workers, monkeypatch, capsys):
    monkeypatch.setattr(supervisor, "_newest_step", lambda folder: 0)
    assert supervise(workers, Script(["a"] * 3, *[[1]] * 2), Rules("test", 1)) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "test: worker 0 (a) failed: starts again from the beginning, try 1 of 1 without progress",
        "test: 1 restart brought no newer checkpoint: not started again; nothing was saved",
    ]


def test_fewer_hosts_are_said(workers, steps, capsys):
    script = Script(["abc", "ab"], [1, 1, 255], [0, 0])
    supervise(workers, script, Rules("test", 3))
    assert "starts again on 2 worker(s) from step 10\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, ToldToStop)]
)
@pytest.mark.parametrize("tries", [0, 1])
def test_a_signal_while_it_looks_for_hosts_ends_it(workers, steps, number, error, tries):
    """No worker runs that could receive it."""
    script = Script(["ab"] * 2, [1, 255])
    find = script.hosts

    def hosts(again):
        if len(script.started) == tries:
            signal.raise_signal(number)
        return find(again)

    script.hosts = hosts
    with pytest.raises(error):
        supervise(workers, script, Rules("test", 3))
    assert script.started == ["ab"] * tries


class Hung(Ended):
    """A worker that runs until it is killed."""

    def __init__(self, host, lost_code=None):
        super().__init__(host, None, lost_code)

    def kill(self):
        self._code = -9


def then_all_done(workers):
    """Starts these workers on two hosts, and then two that end well."""
    tries = iter([workers, [Ended("a", 0), Ended("b", 0)]])
    script = Script([])
    script.start = lambda hosts: next(tries)
    script.hosts = lambda again: ["a", "b"]
    return script


def test_a_hung_worker_is_named_and_not_the_one_that_noticed(workers, steps, capsys, monkeypatch):
    """It is killed at once, not after the grace."""
    monkeypatch.setattr("mnist_dist.launch.workers.KNOWN_S", 0.0)
    noticed = Ended("a", 1)
    noticed.accused = accusation("step 7: worker 1 (host pc) fell silent 8 s ago, at step 6")
    patient = Workers("test", 5.0)
    script = then_all_done([noticed, Hung("b")])
    assert supervise(patient, script, Rules("test", 3)) == 0
    assert capsys.readouterr().err.splitlines() == [
        "test: worker 1 (host pc) fell silent; the others are told to stop",
        "test: worker 1 (b) didn't end: killed",
        "test: worker 1 (b) silent: starts again from step 10",
    ]


@pytest.mark.parametrize("code", [-9, 137])
def test_a_signal_is_named_over_ssh_too(workers, capsys, code):
    assert workers.run(lambda: [Hung("a"), Ended("b", code)]) == 137
    assert "test: worker 1 was ended by SIGKILL; the others " in capsys.readouterr().err


def test_a_worker_that_never_ends_while_the_others_are_done_is_killed(
    workers, steps, capsys, monkeypatch
):
    """Such as one whose connection hangs. The next try finds the run finished."""
    monkeypatch.setattr("mnist_dist.launch.workers.DONE_S", 0.0)
    script = then_all_done([Ended("a", 0), Hung("b", 255)])
    assert supervise(workers, script, Rules("test", 3)) == 0
    assert capsys.readouterr().err.splitlines() == [
        "test: worker 1 (b) didn't end: killed",
        "test: worker 1 (b) silent: starts again from step 10",
    ]


def test_a_host_left_out_is_named(workers, steps, capsys):
    script = Script(["abc"] * 3, [1, -9], [1, -9], [0, 0])
    assert supervise(workers, script, Rules("test", 3, shards=2)) == 0
    assert script.started == ["ab", "ab", "ac"]
    assert capsys.readouterr().err.splitlines()[1:] == [
        "test: worker 1 (b) killed: starts again from step 10; not used: c",
        "test: worker 1 (b) killed: starts again from step 20; not used: b (workers were lost "
        "there)",
    ]
