"""Whether a scheduler's signal to stop comes early enough."""

import math
from collections.abc import Callable


class SaveDeadlineCheck:
    """The time between the signal to stop and the end, which must do for a block and a save."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        """Args:
        seconds: --stop_lead_s; 0 where it isn't known.
        say: told, once, when it isn't enough.
        """
        self._seconds, self._say = seconds, say

    def look(self, block_s: float, save_s: float) -> None:
        """What the last block of steps took, and the last save till it counted; 0 for none yet."""
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
