"""Warns when a scheduler's signal to stop comes too late to save."""

import math
from collections.abc import Callable


class SaveDeadlineCheck:
    """Compares the time between signal and end with that of a block and a save; warns once."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        """Args:
        seconds: --stop_lead_s, the time between signal and end; 0 if unknown.
        say: called once with the warning.
        """
        self._seconds, self._say = seconds, say

    def check(self, block_s: float, save_s: float) -> None:
        """Takes the durations of the last block and of the last save; 0 before the first save."""
        needed = block_s + save_s
        if not self._seconds or not save_s or needed <= self._seconds:
            return
        enough = math.ceil(2 * needed)
        self._say(
            f"Stopping takes {needed:.1f} s (a block of steps {block_s:.1f}, a save {save_s:.1f}), "
            f"and between the signal and the end there are {self._seconds:g}, by --stop_lead_s: "
            f"what is done after the last checkpoint may be lost. Have it sent earlier (sbatch "
            f"--signal=USR2@{enough}, and --stop_lead_s={enough})."
        )
        self._seconds = 0.0
