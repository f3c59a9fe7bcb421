"""How long a run is, and at which global step it evaluates, saves and logs."""

from collections.abc import Iterator
from typing import NamedTuple


class Plan(NamedTuple):
    """The lengths and intervals of a run.

    Attributes:
        epochs: passes over the training set.
        max_steps: global steps after which the run stops in any case; 0: no limit.
        steps_per_epoch: global steps in an epoch.
        block_steps: the most global steps in one call of the graph.
        checkpoint_every_steps: global steps between additional checkpoints; 0: none.
        log_interval: global steps between loss lines; 0: none.
        checkpoint_every_s: seconds between additional checkpoints; 0: none.
        profiled: the global steps that are traced.
    """

    epochs: int
    max_steps: int
    steps_per_epoch: int
    block_steps: int
    checkpoint_every_steps: int
    log_interval: int
    checkpoint_every_s: float = 0.0
    profiled: range = range(0)

    @property
    def last_step(self) -> int:
        """Global steps after which the run is complete."""
        steps = self.epochs * self.steps_per_epoch
        return min(steps, self.max_steps) if self.max_steps else steps

    @property
    def ending(self) -> str:
        """Why a run that has reached its last step stopped: completed or max_steps."""
        whole = self.epochs * self.steps_per_epoch
        return "completed" if self.last_step == whole else "max_steps"

    def epoch_ended(self, step: int) -> bool:
        """Whether an epoch is complete after `step` global steps."""
        return step % self.steps_per_epoch == 0

    def evaluation_due(self, step: int) -> bool:
        """Whether the run is scored after `step` global steps."""
        return step >= self.last_step or self.epoch_ended(step)

    def save_due(self, step: int, requested: bool = False) -> bool:
        """Whether an additional save is due after `step` global steps.

        Args:
            step: global steps done.
            requested: worker 0 has asked all workers to save: see `save_request`.
        """
        every = self.checkpoint_every_steps
        due = requested or (every and step % every == 0)
        return bool(due) and not self.evaluation_due(step)

    def save_request(self, age_s: float) -> bool:
        """Whether worker 0 asks for a save, `age_s` seconds after the last one began.

        The workers' clocks differ, and all must take part in a save's comparison. So worker 0 sends
        its request along with the sums of a step, and the save is at the end of that block.
        """
        return bool(self.checkpoint_every_s) and age_s >= self.checkpoint_every_s

    def blocks(self, step: int) -> Iterator[range]:
        """Blocks of the steps from `step` on; what is due is due at a block's end."""
        every = self.checkpoint_every_steps or self.last_step
        size = self.block_steps
        while step < self.last_step:
            epoch = step // self.steps_per_epoch
            end = min((epoch + 1) * self.steps_per_epoch, self.last_step)
            last = min(end, (step // size + 1) * size, (step // every + 1) * every)
            traced = [n for n in (self.profiled.start, self.profiled.stop) if step < n < last]
            last = min([last, *traced])
            yield range(step, last)
            step = last
