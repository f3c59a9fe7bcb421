"""What stands on a terminal's last line: how far a run is, how fast, and how long it will take."""

import dataclasses

BARS = (20, 10)  # columns
FORWARD = 1 / 3  # of a training step's work, that an evaluation of the same images does


@dataclasses.dataclass
class Pace:
    """How far a run is and how fast it goes. Times are in seconds of one clock.

    Attributes:
        step: global steps done.
        last: global steps of the whole run.
        batch_size: images of a global step.
        steps_per_epoch: after each epoch, and at the end, there is a pause to evaluate and save.
        scored: images that are evaluated in a pause, to guess the first one's length.
    """

    step: int
    last: int
    batch_size: int
    steps_per_epoch: int
    scored: int
    _steps: float = 0.0  # of late, later ones counting more; and the time that they took
    _seconds: float = 0.0
    _pause_s: float | None = None
    _first: bool = True

    def advance(self, steps: int, train_s: float, paused_s: float) -> None:
        """A block was trained, after a pause; the first one isn't measured: it was compiled."""
        if paused_s and self.step % self.steps_per_epoch == 0 and not self._first:
            self._pause_s = paused_s
        elif not self._first:
            train_s += paused_s  # a checkpoint between evaluations
        self.step += steps
        if not self._first:
            self._steps = 0.9 * self._steps + steps
            self._seconds = 0.9 * self._seconds + train_s
        self._first = False

    @property
    def images_per_s(self) -> float | None:
        """None as long as it isn't known."""
        return self.batch_size * self._steps / self._seconds if self._seconds else None

    def left_s(self, since_block_s: float) -> float | None:
        """Seconds to the end of the last evaluation and save; None as long as it isn't known.

        Args:
            since_block_s: how long ago the last block ended.
        """
        if not self._seconds:
            return None
        step_s = self._seconds / self._steps
        pause_s = self._pause_s
        if pause_s is None:
            pause_s = FORWARD * step_s * self.scored / self.batch_size
        pauses = -(-self.last // self.steps_per_epoch) - self.step // self.steps_per_epoch
        if self.step % self.steps_per_epoch == 0:
            pauses += 1  # the one that followed the last block
        return (self.last - self.step) * step_s + pauses * pause_s - since_block_s


def text(
    pace: Pace | None, doing: str, loss: float | None, left_s: float | None, columns: int
) -> str:
    """The line, of at most `columns`: what matters least goes first, the time left last.

    Args:
        pace: how far the run is; None before it has begun.
        doing: what is done beside training, such as "saving 2 s"; empty while it trains.
        loss: the last step's.
        left_s: seconds to the end, if they are known.
        columns: the width that there is.
    """
    left = f"{clock(left_s)} left" if left_s is not None and left_s >= 1 else ""
    if pace is None:
        return doing[:columns]
    step = f"step {pace.step}/{pace.last}"
    done = [size * pace.step // max(pace.last, 1) for size in BARS]
    bars = [f"|{'#' * d}{'-' * (size - d)}|" for d, size in zip(done, BARS, strict=True)]
    seen = "" if loss is None else f"loss {loss:.4f}"
    speed = pace.images_per_s
    fast = f"{speed:,.0f} images/s" if speed else ""
    if doing:
        seen = fast = ""
    for parts in (
        *((f"{step} {bar}", doing, seen, fast, left) for bar in bars),
        (step, doing, seen, fast, left),
        (step, doing, seen, left),
        (doing, left) if doing else (step, left),
        (left or doing or step,),
    ):
        line = ", ".join(part for part in parts if part)
        if len(line) <= columns:
            return line
    return line[:columns]


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
