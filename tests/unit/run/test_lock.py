"""One run folder, one run. The owners are real processes; those of another host say so."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run import lock
from mnist_dist.run.lock import Lock
from mnist_dist.run.lock_files import LockFiles
from mnist_dist.run.owner import Owner
from tests.waiting import wait_for

# A process that has a folder, says so, and keeps it till its input ends.
HOLDER = """
import sys
from pathlib import Path
from mnist_dist.run import lock, owner
folder, system, job, restart, beat_s = sys.argv[1:]
owner = owner.Owner.this_process(job, int(restart))
owner = owner._replace(system=system or owner.system, host="n7" if system else owner.host)
held = lock.Lock(Path(folder), "--output_dir", owner, beat_s=float(beat_s), dead_after_s=1.0)
try:
    held.acquire()
except Exception as error:
    print(error, flush=True)
    sys.exit(2)
print("has it", flush=True)
sys.stdin.read()
try:
    held.check()
except Exception as error:
    print(error, flush=True)
held.release()
"""


class Holder:
    def __init__(self, folder, system="", job="", restart=0, beat_s=0.05):
        argv = [str(word) for word in (folder, system, job, restart, beat_s)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *argv],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
            cwd=Path(__file__).parents[3],
        )
        self.line = self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Lets it go; what it said at last."""
        return self.process.communicate(timeout=60)[0].strip()


@pytest.fixture
def holder(tmp_path):
    started = []

    def start(**options):
        started.append(Holder(tmp_path, **options))
        assert started[-1].line == "has it"
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(OSError):
            one.process.send_signal(signal.SIGCONT)
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


def mine(folder, said=None, **job):
    """A lock of this process."""
    say = said.append if said is not None else print
    owner = Owner.this_process(**job)
    return Lock(folder, "--output_dir", owner, say=say, beat_s=0.05, dead_after_s=1.0)


def taken(folder, **job):
    """Takes it and lets it go."""
    said = []
    held = mine(folder, said, **job)
    held.acquire()
    held.check()
    held.release()
    return said


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_taken_and_left(tmp_path):
    held = mine(tmp_path / "a" / "b")
    held.acquire()
    assert names(tmp_path / "a" / "b") == ["run-1.lock"]
    held.release()
    assert names(tmp_path) == []


def test_what_a_run_wrote_stays(tmp_path):
    held = mine(tmp_path / "a" / "b")
    held.acquire()
    (tmp_path / "a" / "b" / "file").write_text("")
    held.release()
    assert names(tmp_path / "a" / "b") == ["file"]


def test_the_second_is_refused_with_who_has_it(tmp_path, holder):
    """At once; the first goes on, and the next may."""
    first = holder(job="17")
    host = os.uname().nodename
    with pytest.raises(UsageError) as caught:
        mine(tmp_path).acquire()
    assert str(caught.value) == (
        f"--output_dir={tmp_path} is in use by another run (job 17, host {host}, process "
        f"{first.process.pid}), which is alive; wait for it, stop it, or give another folder"
    )
    assert names(tmp_path) == ["run-1.lock"]
    assert first.end() == ""
    assert taken(tmp_path) == []


def test_two_at_the_same_time(tmp_path):
    """Of many that start together one has the folder, each time."""
    for _ in range(3):
        many = [
            subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(tmp_path), "", "", "0", "0.05"],
                **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
                cwd=Path(__file__).parents[3],
            )
            for _ in range(4)
        ]
        lines = [process.stdout.readline() for process in many]
        assert sum(line == "has it\n" for line in lines) == 1
        assert sum("is in use by another run" in line for line in lines) == 3
        for process, line in zip(many, lines, strict=True):
            if line == "has it\n":  # killed: the next round takes it over
                process.kill()
            process.communicate(timeout=60)


def test_killed_here(tmp_path, holder):
    """A process of this machine that isn't there any more: at once, without waiting."""
    holder().kill()
    assert names(tmp_path) == ["run-1.lock"]
    assert taken(tmp_path) == []
    assert names(tmp_path) == []


def test_a_process_number_used_again(tmp_path):
    """The number lives, but it was started at another time."""
    owner = Owner.this_process()._replace(pid=os.getppid(), started="1")
    (tmp_path / "run-1.lock").write_text(json.dumps({**owner._asdict(), "beat": "1"}) + "\n")
    assert taken(tmp_path) == []


def test_a_zombie_is_dead(tmp_path, holder):
    process = holder().process
    process.kill()
    wait_for("a zombie", lambda: "Z" in Path(f"/proc/{process.pid}/stat").read_text(), 30)
    assert taken(tmp_path) == []


def test_stopped_here_is_alive(tmp_path, holder):
    holder().process.send_signal(signal.SIGSTOP)
    with pytest.raises(UsageError, match="is in use by another run"):
        mine(tmp_path).acquire()


def test_elsewhere_and_alive(tmp_path, holder):
    """Told by the file's changing, whatever clocks say."""
    first, said = holder(system="another machine"), []
    os.utime(tmp_path / "run-1.lock", (0, 0))
    with pytest.raises(UsageError, match=rf"\(host n7, process {first.process.pid}\), which is al"):
        mine(tmp_path, said).acquire()
    (line,) = said
    assert line.endswith("looking for a sign of life for 1 s.")
    assert first.end() == ""


def test_elsewhere_and_dead(tmp_path, holder):
    holder(system="another machine").kill()
    (line,) = taken(tmp_path)
    assert "was left by a run (host n7, process " in line
    assert names(tmp_path) == []


def test_elsewhere_and_ending_meanwhile(tmp_path, holder):
    """Its beats are too slow to be seen; it goes while it is looked for."""
    first = holder(system="another machine", beat_s=60)
    first.process.stdin.close()
    assert len(taken(tmp_path)) <= 1
    assert first.process.wait(timeout=60) == 0


def test_requeued(tmp_path, holder):
    """The same job with a higher count takes over at once, wherever it was; the older one is told
    when it saves. The same count, or another job, has to look."""
    first = holder(system="another machine", job="17", restart=1)
    for job in ({"job": "17", "restart": 1}, {"job": "17"}, {"job": "18", "restart": 5}, {}):
        with pytest.raises(UsageError, match="is in use by another run"):
            mine(tmp_path, [], **job).acquire()
    said = []
    held = mine(tmp_path, said, job="17", restart=2)
    held.acquire()
    assert said == []
    assert names(tmp_path) == ["run-2.lock"]
    assert f"--output_dir={tmp_path} was taken over by job 17, host" in first.end()
    assert names(tmp_path) == ["run-2.lock"]
    held.check()
    held.release()


def test_thought_dead_and_taken_over(tmp_path, holder):
    """It gave no sign of life for long: it finds out, and doesn't take the file away again."""
    first = holder(system="another machine", beat_s=60)
    held = mine(tmp_path, [])
    held.acquire()
    said = first.end()
    assert f"was taken over by host {os.uname().nodename}, process {os.getpid()}" in said
    assert "since this run gave no sign of life" in said
    held.check()
    held.release()
    assert names(tmp_path) == []


def test_beats_go_on_and_survive_the_file(tmp_path):
    """A file that somebody deletes is there again with the next beat."""
    held = mine(tmp_path)
    held.acquire()
    path = tmp_path / "run-1.lock"
    text = path.read_text()
    wait_for("a beat", lambda: path.read_text() != text, 30)
    assert len(path.read_text()) == len(text)
    path.unlink()
    wait_for("the file", path.exists, 30)
    held.check()
    held.release()
    assert names(tmp_path) == []


@pytest.mark.parametrize("beat_s", [0.05, 60])
def test_deleted_by_hand_under_a_living_run(tmp_path, holder, beat_s):
    """The next run gets the folder and its number. The first one finds out, and leaves its file."""
    first = holder(beat_s=beat_s)
    first.process.send_signal(signal.SIGSTOP)
    (tmp_path / "run-1.lock").unlink()
    held = mine(tmp_path, [])
    held.acquire()
    assert names(tmp_path) == ["run-1.lock"]
    text = (tmp_path / "run-1.lock").read_text()
    first.process.send_signal(signal.SIGCONT)
    said = first.end()
    assert f"was taken over by host {os.uname().nodename}, process {os.getpid()}" in said
    assert "since this run lost its lock file; it ends here" in said
    assert json.loads(text)["token"] == json.loads((tmp_path / "run-1.lock").read_text())["token"]
    held.check()
    held.release()
    assert names(tmp_path) == []


def test_deleted_by_hand_it_is_there_again_at_the_next_check(tmp_path):
    held = Lock(tmp_path, "--output_dir", Owner.this_process(), beat_s=60)
    held.acquire()
    (tmp_path / "run-1.lock").unlink()
    held.check()
    assert names(tmp_path) == ["run-1.lock"]
    held.release()


def test_a_heartbeat_leaves_a_successors_folder_alone(tmp_path):
    """Its own file, which the successor has deleted, isn't made again."""
    held = mine(tmp_path)
    held.acquire()
    (tmp_path / "run-2.lock").write_text("")
    (tmp_path / "run-1.lock").unlink()
    beats = held._files._beats
    with pytest.raises(TimeoutError):
        wait_for("a beat", lambda: held._files._beats > beats, 1)
    assert names(tmp_path) == ["run-2.lock"]
    held.release()
    assert names(tmp_path) == ["run-2.lock"]


def test_a_beat_in_progress_is_waited_for(tmp_path, monkeypatch):
    """Otherwise it would make the file again that `release` has deleted."""
    held, begun, end = mine(tmp_path), threading.Event(), threading.Event()
    refresh = held._files.refresh

    def slow(number):
        begun.set()
        assert end.wait(60)
        return refresh(number)

    monkeypatch.setattr(held._files, "refresh", slow)
    held.acquire()
    assert begun.wait(60)
    releasing = threading.Thread(target=held.release)
    releasing.start()
    releasing.join(0.2)
    assert releasing.is_alive()
    end.set()
    for thread in (releasing, held._thread):
        thread.join(60)
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["", "null", "[" * 3000, '{"job": 1}', "\0" * 10, "9" * 4096])
def test_what_is_no_lock_is_waited_for_and_taken_over(tmp_path, text):
    (tmp_path / "run-3.lock").write_text(text)
    taken(tmp_path)
    assert names(tmp_path) == []


def test_each_folder_once(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    folders = {"--checkpoint_dir": str(tmp_path), "--output_dir": str(tmp_path / "link")}
    with lock.held(folders, Owner.this_process()) as check:
        assert names(tmp_path) == ["link", "run-1.lock"]
        check()
        (tmp_path / "run-2.lock").write_text("")
        with pytest.raises(RunError, match="was taken over by another run"):
            check()
    assert names(tmp_path) == ["link", "run-2.lock"]


def test_one_of_two_is_taken(tmp_path, holder):
    """Nothing is left of the other."""
    holder()
    folders = {"--checkpoint_dir": str(tmp_path / "ck"), "--output_dir": str(tmp_path)}
    with (
        pytest.raises(UsageError, match="--output_dir="),
        lock.held(folders, Owner.this_process()),
    ):
        pass
    assert names(tmp_path) == ["run-1.lock"]


def test_no_folder(tmp_path):
    with lock.held({"--output_dir": ""}, Owner.this_process()) as check:
        check()


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_where_none_can_be_made(tmp_path, name):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError, match=r"can't write there \(.*give a folder that this user"):
        mine(tmp_path / name).acquire()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["mkdir", "open", "write"])
def test_a_full_disk_is_no_mistake_of_the_users(tmp_path, monkeypatch, name):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.os, name, full)
    with pytest.raises(RunError, match="new: could not write there: No space left on device"):
        mine(tmp_path / "new").acquire()
    monkeypatch.undo()
    assert names(tmp_path) == []


@pytest.mark.parametrize("seen", [[], [5]], ids=["the-same-number", "another-number"])
def test_somebody_was_faster(tmp_path, holder, monkeypatch, seen):
    """Between looking and making the file: who was there first keeps the folder.

    The other number: a dead run's 5 was seen, which a third one has followed and left meanwhile.
    """
    first = holder()
    answers, look = [seen], LockFiles.numbers
    monkeypatch.setattr(LockFiles, "numbers", lambda self: answers.pop() if answers else look(self))
    with pytest.raises(UsageError, match=f"process {first.process.pid}"):
        mine(tmp_path).acquire()
    assert "run-1.lock" in names(tmp_path)
    assert "run-6.lock" not in names(tmp_path)
    assert first.end() == ""


def test_a_number_that_was_given_back_may_be_taken_by_a_third_run(tmp_path, holder, monkeypatch):
    """The second run, refused because the first one lives, leaves the third one's lock."""
    holder()
    answers, look, delete = [[5]], LockFiles.numbers, LockFiles.delete

    def taken_at_once(self, number):
        monkeypatch.setattr(LockFiles, "delete", delete)
        delete(self, number)
        LockFiles(tmp_path, Owner.this_process()).create(number)

    monkeypatch.setattr(LockFiles, "numbers", lambda self: answers.pop() if answers else look(self))
    monkeypatch.setattr(LockFiles, "delete", taken_at_once)
    with pytest.raises(UsageError, match="in use by another run"):
        mine(tmp_path).acquire()
    assert names(tmp_path) == ["run-1.lock", "run-6.lock"]
