"""Early stopping: the epochs since the validation split last improved (Prechelt 1998)."""

import dataclasses
from typing import NamedTuple


class EarlyStopping(NamedTuple):
    """What counts as an improvement, and how long to wait for one.

    Attributes:
        epochs: epochs without improvement before the run stops; 0: never.
        monitor: validation_loss or validation_accuracy.
        min_delta: smallest change that counts as an improvement.
    """

    epochs: int
    monitor: str
    min_delta: float


@dataclasses.dataclass
class Patience:
    """The state of early stopping, which is saved with the run.

    Attributes:
        best_step: the global step of the best value, None before the first evaluation.
        best_value: the monitored value there.
        waited: epochs since then.
    """

    best_step: int | None = None
    best_value: float = 0.0
    waited: int = 0

    def update(self, settings: EarlyStopping, step: int, validation: dict[str, float]) -> None:
        """Records the evaluation at an epoch's end.

        Args:
            settings: what counts as an improvement.
            step: global steps done.
            validation: "loss" and "accuracy" of the validation split.
        """
        value = validation[settings.monitor.removeprefix("validation_")]
        gain = value - self.best_value
        if settings.monitor == "validation_loss":
            gain = -gain
        if self.best_step is None or gain > settings.min_delta:
            self.best_step, self.best_value, self.waited = step, value, 0
        else:
            self.waited += 1
