"""A disk that fails on demand: disk.c in front of a process's C library."""

import ctypes
import mmap
import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEAD = 0  # in place of an errno: the disk stands still, as a kill -9 leaves it
HUNG = -1  # the call never returns


class Control(ctypes.Structure):
    """As in disk.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("at", "number", "count", "dead")),
        *(("folder", ctypes.c_char * 1024), ("last", ctypes.c_char * 64)),
    )


class Disk:
    """Builds the library in `place`; `environment` is for the process to be tried."""

    def __init__(self, place: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None and not os.environ.get("CI"):
            pytest.skip("no C compiler: apt-get install gcc libc6-dev")
        library, shared = place / "disk.so", place / "control"
        source = Path(__file__).with_suffix(".c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
        shared.write_bytes(bytes(ctypes.sizeof(Control)))
        with shared.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(Control))
        self._control = Control.from_buffer(self._memory)
        self.environment = {"LD_PRELOAD": str(library), "FAULTS": str(shared)}

    def arm(self, folder: Path, at: int = 0, number: int = DEAD) -> None:
        """From now on calls below `folder` count, and the one numbered `at` goes wrong."""
        control = self._control
        control.at, control.number, control.count, control.dead = at, number, 0, 0
        control.last = b""
        control.folder = str(folder).encode()

    def disarm(self) -> tuple[int, str]:
        """How many calls there were, and the name of the one that went wrong."""
        self._control.folder = b""
        return self._control.count, self._control.last.decode()
