"""The files run-N.lock by which the runs of a folder see one another."""

import json
import os
import re
from pathlib import Path

from mnist_dist import bounded
from mnist_dist.run.owner import MOST_BYTES, Owner, owner_of


class LockFiles:
    """Lists and reads all lock files of a folder; writes this process's own.

    Methods raise OSError if the disk is full or gone.
    """

    def __init__(self, folder: Path, owner: Owner) -> None:
        """Args:
        folder: where the files are.
        owner: this process.
        """
        self._folder, self._owner, self._beats = folder, owner, 0

    def numbers(self) -> list[int]:
        """The numbers of the folder's lock files, ascending."""
        found = (re.fullmatch(r"run-([1-9]\d{0,8})\.lock", n) for n in os.listdir(self._folder))
        return sorted(int(match[1]) for match in found if match)

    def read(self, number: int) -> tuple[str | None, Owner | None]:
        """Reads a lock: its text, or None without a file; its owner, or None if the text is cut."""
        try:
            text = bounded.read_text(self._path(number), MOST_BYTES)
        except FileNotFoundError:
            return None, None
        except (ValueError, IsADirectoryError) as error:
            return str(error), None
        return text, owner_of(text)

    def create(self, number: int) -> None:
        """Makes a lock file of this process. Raises FileExistsError if there is one."""
        handle = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._write(handle)
        finally:
            os.close(handle)

    def refresh(self, number: int) -> bool:
        """Rewrites a lock file of this process, made again if somebody deleted it.

        The file stays open between reading the owner and writing, so a file that is deleted and
        made by another run meanwhile isn't written.

        Returns:
            False if the file belongs to another run.
        """
        try:
            handle = os.open(self._path(number), os.O_RDWR)
        except FileNotFoundError:
            try:
                self.create(number)
            except FileExistsError:
                return False
            return True
        try:
            owner = owner_of(os.read(handle, MOST_BYTES).decode(errors="replace"))
            if owner is None or owner.token != self._owner.token:
                return False
            os.lseek(handle, 0, os.SEEK_SET)
            self._write(handle)
        finally:
            os.close(handle)  # NFS publishes a change when the file is closed
        return True

    def delete(self, number: int) -> None:
        """Deletes a lock file, if it is there."""
        self._path(number).unlink(missing_ok=True)

    def _write(self, handle: int) -> None:
        """Overwrites the lock in place with text of a fixed length, which works on a full disk."""
        self._beats += 1
        line = json.dumps({**self._owner._asdict(), "beat": f"{self._beats:012d}"}) + "\n"
        os.write(handle, line.encode())

    def _path(self, number: int) -> Path:
        return self._folder / f"run-{number}.lock"
