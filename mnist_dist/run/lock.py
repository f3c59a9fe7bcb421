"""One run folder, one run: who has a folder says so in a file in it, again and again.

The file is run-N.lock; the highest N has the folder. It is made exclusively, which is atomic on
NFS and Lustre too, and rewritten every few seconds. Who is dead is told without a person's hand:
an earlier try of the same job, a process of this machine that isn't there any more, or a file that
doesn't change for a while on the looker's own clock. His successor makes the file N + 1, which
only one can. So no file is ever taken from anybody, and who was thought dead finds out.
"""

import contextlib
import errno
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mnist_dist import bounded
from mnist_dist.errors import RunError, UsageError
from mnist_dist.run.owner import MOST_BYTES, Owner, owner_of

BEAT_S = 5.0
DEAD_AFTER_S = 30.0
POLL_S = 0.2
OUT_OF_ORDER = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)


class Lock:
    """This process's hold on a folder: `acquire`, then `check` before what counts, `release`."""

    def __init__(  # noqa: PLR0913
        self,
        folder: Path,
        flag: str,
        owner: Owner,
        say: Callable[[str], None] = print,
        beat_s: float = BEAT_S,
        dead_after_s: float = DEAD_AFTER_S,
    ) -> None:
        """Args:
        folder: made if there is none, and taken away again if it stays empty.
        flag: what the folder is called in messages, such as "--output_dir".
        owner: who wants it.
        say: told when this is going to take a while.
        beat_s: seconds between signs of life.
        dead_after_s: seconds without one after which a run elsewhere counts as dead.
        """
        self._folder, self._flag, self._owner, self._say = folder, flag, owner, say
        self._beat_s, self._dead_after_s = beat_s, dead_after_s
        self._number, self._beats = 0, 0
        self._made: list[Path] = []
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock")

    def acquire(self) -> None:
        """Takes the folder, from a dead run if need be; returns with signs of life under way.

        Raises:
            UsageError: another run has it, or this user can't write in it.
            RunError: the disk is full or gone.
        """
        try:
            self._make_folder()
            while not self._try():
                pass
        except OSError as error:
            self._leave()
            if error.errno in OUT_OF_ORDER:
                raise RunError(
                    f"{self._flag}={self._folder}: could not write there: {error.strerror}"
                ) from error
            raise UsageError(
                f"{self._flag}={self._folder}: can't write there ({error.strerror}); "
                "give a folder that this user may write in"
            ) from error
        except UsageError:
            self._leave()
            raise
        self._thread.start()

    def check(self) -> None:
        """Raises RunError where another run has taken the folder since."""
        above = [number for number in self._numbers() if number > self._number]
        if above:
            heir = self._read(max(above))[1] or "another run"
            raise RunError(
                f"{self._flag}={self._folder} was taken over by {heir}, since this run gave no "
                f"sign of life for {self._dead_after_s:g} s; it ends here"
            )

    def release(self) -> None:
        """Leaves the folder to the next."""
        self._released.set()
        self._thread.join()
        self._leave()

    def _make_folder(self) -> None:
        self._made = [p for p in (self._folder, *self._folder.parents) if not p.exists()]
        self._folder.mkdir(parents=True, exist_ok=True)

    def _try(self) -> bool:
        """Whether the folder is this run's now; False where it has to look again."""
        before = self._numbers()
        for number in before:
            self._outlive(number)
        self._number = max(before, default=0) + 1
        try:
            self._write(os.O_CREAT | os.O_EXCL)
        except FileExistsError:  # somebody was faster
            self._number = 0
            return False
        if set(self._numbers()) - {*before, self._number}:  # and somebody else counts otherwise
            self._path(self._number).unlink()
            self._number = 0
            return False
        for number in before:
            self._path(number).unlink(missing_ok=True)
        return True

    def _outlive(self, number: int) -> None:
        """Returns when the run of a lock is dead or gone. Raises UsageError if it lives."""
        seen, since = "", time.monotonic()
        while (read := self._read(number))[0] is not None:
            text, owner = read
            if owner and self._dead(owner):
                return
            beats = bool(seen) and text != seen and owner is not None
            if owner and (beats or owner.system == self._owner.system):
                raise UsageError(
                    f"{self._flag}={self._folder} is in use by another run ({owner}), which is "
                    "alive; wait for it, stop it, or give another folder"
                )
            if owner and not seen:
                self._say(
                    f"{self._flag}={self._folder} was left by a run ({owner}): looking for a sign "
                    f"of life for {self._dead_after_s:g} s."
                )
                seen, since = text or "", time.monotonic()
            if time.monotonic() - since > self._dead_after_s:
                return
            time.sleep(POLL_S)

    def _dead(self, other: Owner) -> bool:
        """Whether the owner of a lock is certainly not there any more."""
        if other.job and other.job == self._owner.job and other.restart < self._owner.restart:
            return True  # the scheduler has ended that try before it began this one
        return other.gone

    def _beat(self) -> None:
        while not self._released.wait(self._beat_s):
            with contextlib.suppress(OSError):  # the disk may come back; saving says if it doesn't
                if max(self._numbers(), default=0) <= self._number:
                    self._write(os.O_CREAT)

    def _write(self, how: int) -> None:
        """In place and of one length, so that it needs no room on a full disk."""
        self._beats += 1
        line = json.dumps({**self._owner._asdict(), "beat": f"{self._beats:012d}"}) + "\n"
        handle = os.open(self._path(self._number), os.O_WRONLY | how, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)  # which NFS takes for the moment to tell others

    def _read(self, number: int) -> tuple[str | None, Owner | None]:
        """A lock's text, None where there is none; and its owner, None while it is being made."""
        try:
            text = bounded.read_text(self._path(number), MOST_BYTES)
        except FileNotFoundError:
            return None, None
        except (ValueError, IsADirectoryError) as error:
            return str(error), None
        return text, owner_of(text)

    def _numbers(self) -> list[int]:
        found = (re.fullmatch(r"run-([1-9]\d{0,8})\.lock", n) for n in os.listdir(self._folder))
        return sorted(int(match[1]) for match in found if match)

    def _path(self, number: int) -> Path:
        return self._folder / f"run-{number}.lock"

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            if self._number:
                self._path(self._number).unlink(missing_ok=True)
        for place in self._made:
            with contextlib.suppress(OSError):  # it isn't empty
                place.rmdir()


@contextlib.contextmanager
def held(folders: dict[str, str], owner: Owner) -> Iterator[Callable[[], None]]:
    """Has some folders (by their flags), each once; yields what raises RunError if one is lost.

    Raises:
        UsageError: another run has one, or it can't be written in.
    """
    with contextlib.ExitStack() as stack:
        locks = dict[str, Lock]()
        for flag, folder in folders.items():
            place = os.path.realpath(folder)
            if folder and place not in locks:
                locks[place] = Lock(Path(folder), flag, owner)
                locks[place].acquire()
                stack.callback(locks[place].release)

        def check() -> None:
            for lock in locks.values():
                lock.check()

        yield check
