"""The progress bar: step, speed and remaining time, as the text of one line."""

import dataclasses

BLOCKS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"  # empty, one eighth ... full
BARS = (20, 10)  # columns
FORWARD = 1 / 3  # work of evaluating some images, as a share of training on them


@dataclasses.dataclass
class Pace:
    """Progress and speed of a run. Times are in seconds of one clock.

    Attributes:
        step: global steps done.
        last: global steps of the whole run.
        batch_size: images of a global step.
        steps_per_epoch: after each epoch, and at the end, training pauses to evaluate and save.
        scored: images evaluated in a pause; the first pause's length is estimated from it.
        blocks: whether the terminal displays Unicode's block characters.
    """

    step: int
    last: int
    batch_size: int
    steps_per_epoch: int
    scored: int
    blocks: bool = False
    _steps: float = 0.0  # exponentially weighted, as are the seconds that they took
    _seconds: float = 0.0
    _pause_s: float | None = None
    _first: bool = True

    def advance(self, steps: int, train_s: float, paused_s: float) -> None:
        """Counts a trained block. The first block isn't measured, since it includes compilation.

        Args:
            steps: of the block.
            train_s: seconds of training.
            paused_s: seconds of evaluating and saving before it.
        """
        if paused_s and self.step % self.steps_per_epoch == 0 and not self._first:
            self._pause_s = paused_s
        elif not self._first:
            train_s += paused_s  # a save between evaluations
        self.step += steps
        if not self._first:
            self._steps = 0.9 * self._steps + steps
            self._seconds = 0.9 * self._seconds + train_s
        self._first = False

    @property
    def images_per_s(self) -> float | None:
        """Training speed; None before the second block."""
        return self.batch_size * self._steps / self._seconds if self._seconds else None

    def left_s(self, since_block_s: float) -> float | None:
        """Seconds until the run ends, its last evaluation and save included; None if unknown.

        Args:
            since_block_s: seconds since the last block ended.
        """
        if not self._seconds:
            return None
        step_s = self._seconds / self._steps
        pause_s = self._pause_s
        if pause_s is None:
            pause_s = FORWARD * step_s * self.scored / self.batch_size
        pauses = -(-self.last // self.steps_per_epoch) - self.step // self.steps_per_epoch
        if self.step % self.steps_per_epoch == 0:
            pauses += 1  # the pause after the last block is still to come
        return (self.last - self.step) * step_s + pauses * pause_s - since_block_s


def text(
    pace: Pace | None, doing: str, loss: float | None, left_s: float | None, columns: int
) -> str:
    """The line. If it is too long, the least important parts are left out, the time left last.

    Args:
        pace: the run's progress; None before training begins.
        doing: the current activity, such as "saving 2 s"; empty during training.
        loss: of the last step.
        left_s: seconds until the run ends; None if unknown.
        columns: the greatest length.
    """
    left = f"{clock(left_s)} left" if left_s is not None and left_s >= 1 else ""
    if pace is None:
        return doing[:columns]
    step = f"step {pace.step}/{pace.last}"
    bars = [_bar(pace, size) for size in BARS]
    loss_text = "" if loss is None or doing else f"loss {loss:.4f}"
    speed = pace.images_per_s
    speed_text = f"{speed:,.0f} images/s" if speed and not doing else ""
    for parts in (
        *((f"{step} {bar}", doing, loss_text, speed_text, left) for bar in bars),
        (step, doing, loss_text, speed_text, left),
        (step, doing, loss_text, left),
        (doing, left) if doing else (step, left),
        (left or doing or step,),
    ):
        line = ", ".join(part for part in parts if part)
        if len(line) <= columns:
            return line
    return line[:columns]


def _bar(pace: Pace, size: int) -> str:
    """Returns the bar of `size` columns: in eighths of a column, or in ASCII."""
    last = max(pace.last, 1)
    if not pace.blocks:
        done = size * pace.step // last
        return f"|{'#' * done}{'-' * (size - done)}|"
    full, eighths = divmod(8 * size * pace.step // last, 8)
    return f"|{(BLOCKS[-1] * full + BLOCKS[eighths]).strip():{size}}|"


def clock(seconds: float) -> str:
    """MM:SS, or H:MM:SS from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
