"""Where a run stands, apart from its variables."""

import dataclasses

from mnist_dist.training.patience import Patience


@dataclasses.dataclass
class Progress:
    """All of it is in the checkpoint.

    Attributes:
        step: global steps done.
        train_seconds: time in training, over all attempts; evaluations and saves don't count.
        scores: split -> loss and accuracy of the last evaluation.
        patience: what early stopping remembers.
        stopped: why the run is finished; empty while it isn't.
    """

    step: int = 0
    train_seconds: float = 0.0
    scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    patience: Patience = dataclasses.field(default_factory=Patience)
    stopped: str = ""
