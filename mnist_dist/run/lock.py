"""One run per folder: the run that owns a folder says so in a lock file there.

The file is run-N.lock, and the highest N owns the folder. Creating it is exclusive, which is atomic
on NFS and Lustre too; the owner rewrites it every few seconds. Stale owners are detected
automatically: an earlier attempt of the same job, a process of this machine that has ended, or a
file that stops changing, timed by the observer's clock. The successor creates N + 1, which only
one process can. No lock file of another run is ever overwritten, so an owner that was wrongly
presumed dead detects it.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run.lock_files import LockFiles
from mnist_dist.run.owner import Owner

BEAT_S = 5.0
DEAD_AFTER_S = 30.0
POLL_S = 0.2
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)


class Lock:
    """This process's claim to a folder: `acquire`, `check` before each save, `release`."""

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
        folder: made if it doesn't exist, and removed again if it stays empty.
        flag: what the folder is called in messages, such as "--output_dir".
        owner: this process.
        say: prints a line if acquiring will take a while.
        beat_s: seconds between heartbeats.
        dead_after_s: seconds without a heartbeat after which a run on another host counts as dead.
        """
        self._folder, self._flag, self._owner, self._say = folder, flag, owner, say
        self._beat_s, self._dead_after_s = beat_s, dead_after_s
        self._number = 0
        self._files = LockFiles(folder, owner)
        self._made: list[Path] = []
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat, daemon=True, name="lock")

    def acquire(self) -> None:
        """Takes the folder, if need be from a dead run, and starts the heartbeat.

        Raises:
            UsageError: another run owns it, or this user can't write to it.
            RunError: the disk is full or gone.
        """
        try:
            self._make_folder()
            while not self._try_to_take():
                pass
        except OSError as error:
            self._delete()
            if error.errno in DISK_FAULTS:
                raise RunError(
                    f"{self._flag}={self._folder}: could not write there: {error.strerror}"
                ) from error
            raise UsageError(
                f"{self._flag}={self._folder}: can't write there ({error.strerror}); "
                "give a folder that this user may write to"
            ) from error
        except UsageError:
            self._delete()
            raise
        self._thread.start()

    def check(self) -> None:
        """Raises RunError if another run has taken the folder since `acquire`."""
        above = [number for number in self._files.numbers() if number > self._number]
        if above:
            self._lost(max(above), f"gave no sign of life for {self._dead_after_s:g} s")
        if not self._files.refresh(self._number):
            self._lost(self._number, "lost its lock file")

    def release(self) -> None:
        """Stops the heartbeat and deletes the lock file."""
        self._released.set()
        self._thread.join()
        owner = self._files.read(self._number)[1]
        if owner is not None and owner.token != self._owner.token:
            self._number = 0  # another run's
        self._delete()

    def _make_folder(self) -> None:
        self._made = [p for p in (self._folder, *self._folder.parents) if not p.exists()]
        self._folder.mkdir(parents=True, exist_ok=True)

    def _try_to_take(self) -> bool:
        """Whether this run owns the folder now; False if another process interfered."""
        before = self._files.numbers()
        for number in before:
            self._wait_until_dead(number)
        self._number = max(before, default=0) + 1
        try:
            self._files.create(self._number)
        except FileExistsError:  # another process was faster
            self._number = 0
            return False
        if set(self._files.numbers()) - {*before, self._number}:  # another process took one
            self._files.delete(self._number)
            self._number = 0
            return False
        for number in before:
            self._files.delete(number)
        return True

    def _wait_until_dead(self, number: int) -> None:
        """Returns when the owner of a lock is dead or gone. Raises UsageError if it is alive."""
        first_text, since = "", time.monotonic()
        while (read := self._files.read(number))[0] is not None:
            text, owner = read
            if owner and self._certainly_dead(owner):
                return
            beats = bool(first_text) and text != first_text and owner is not None
            if owner and (beats or owner.system == self._owner.system):
                raise UsageError(
                    f"{self._flag}={self._folder} is in use by another run ({owner}), which is "
                    "alive; wait for it, stop it, or give another folder"
                )
            if owner and not first_text:
                self._say(
                    f"{self._flag}={self._folder} was left by a run ({owner}): looking for a sign "
                    f"of life for {self._dead_after_s:g} s."
                )
                first_text, since = text or "", time.monotonic()
            if time.monotonic() - since > self._dead_after_s:
                return
            time.sleep(POLL_S)

    def _certainly_dead(self, other: Owner) -> bool:
        """Whether the owner of a lock has ended for certain."""
        if other.job and other.job == self._owner.job and other.restart < self._owner.restart:
            return True  # the scheduler ends one attempt before it starts the next
        return other.gone

    def _heartbeat(self) -> None:
        while not self._released.wait(self._beat_s):
            with contextlib.suppress(OSError):  # the disk may recover; if not, saving reports it
                if max(self._files.numbers(), default=0) <= self._number:
                    self._files.refresh(self._number)

    def _lost(self, number: int, reason: str) -> NoReturn:
        successor = self._files.read(number)[1] or "another run"
        raise RunError(
            f"{self._flag}={self._folder} was taken over by {successor}, since this run "
            f"{reason}; it ends here"
        )

    def _delete(self) -> None:
        """Deletes the lock file, and the folders that `acquire` made if they are empty."""
        with contextlib.suppress(OSError):
            if self._number:
                self._files.delete(self._number)
        for folder in self._made:
            with contextlib.suppress(OSError):  # it isn't empty
                folder.rmdir()


@contextlib.contextmanager
def held(folders: dict[str, str], owner: Owner) -> Iterator[Callable[[], None]]:
    """Owns some folders, each locked once even if it is given twice.

    Args:
        folders: flag -> folder; an empty folder is skipped.
        owner: this process.

    Yields:
        A function that raises RunError if one of the folders was lost to another run.

    Raises:
        UsageError: another run owns one, or it can't be written to.
        RunError: the disk is full or gone.
    """
    with contextlib.ExitStack() as stack:
        locks = dict[str, Lock]()
        for flag, folder in folders.items():
            real = os.path.realpath(folder)
            if folder and real not in locks:
                locks[real] = Lock(Path(folder), flag, owner)
                locks[real].acquire()
                stack.callback(locks[real].release)

        def check() -> None:
            for lock in locks.values():
                lock.check()

        yield check
