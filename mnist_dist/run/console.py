"""What a person sees: the notebook's lines, and a progress bar on a terminal. For the chief."""

import sys
import time

from tqdm import tqdm


class Console:
    """Prints to standard output.

    Args:
        quiet: prints nothing, for all workers but the chief.
        loss_every_s: seconds between one loss line and the next, at least.
    """

    def __init__(self, quiet: bool, loss_every_s: float = 0.0) -> None:
        self._quiet = quiet
        self._loss_every_s = loss_every_s
        self._loss_due = 0.0  # by time.monotonic
        self._bar: tqdm | None = None

    def line(self, text: str) -> None:
        """One line, or several, above the bar."""
        if self._quiet:
            return
        if self._bar is not None and not self._bar.disable:
            self._bar.write(text)
        else:
            print(text, flush=True)

    def loss(self, batch: int, loss: float) -> None:
        """The notebook's line for a batch, counted in its epoch; not so soon after the last one."""
        now = time.monotonic()
        if now >= self._loss_due:
            self._loss_due = now + self._loss_every_s
            self.line(f"Batch #{batch}\tLoss: {loss:.6f}")

    def begin(self, step: int, last: int, batch_size: int) -> None:
        """Shows the bar where standard output is a terminal: step, loss, images/s, time left."""
        if not self._quiet:
            form = "{desc} {n:.0f}/{total:.0f} |{bar:20}|{postfix}, {remaining} left"
            self._batch_size = batch_size
            self._bar = tqdm(
                total=last,
                initial=step,
                desc="step",
                bar_format=form,
                disable=not sys.stdout.isatty(),
                file=sys.stdout,
                dynamic_ncols=True,
                leave=False,
            )

    def advance(self, steps: int, loss: float) -> None:
        """Moves the bar by the steps of a block, and shows the last one's loss."""
        if self._bar is None or self._bar.disable:
            return
        rate = self._bar.format_dict["rate"]  # steps/s; None before the first block is done
        speed = f", {rate * self._batch_size:,.0f} images/s" if rate else ""
        self._bar.set_postfix_str(f"loss {loss:.4f}{speed}", refresh=False)
        self._bar.update(steps)

    def end(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
