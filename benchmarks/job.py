"""A contestant's task, which its processes receive as JSON."""

import dataclasses
import json
from typing import Any

CHECKED_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Job:
    """The work of one process.

    Attributes:
        batch: the global batch, in images.
        steps: training steps of a turn.
        precision: float32 or mixed_bfloat16.
        check: answer the first CHECKED_STEPS losses, without dropout, and end.
        evaluate: a turn scores the test set instead.
        weights: an .npz with the initial weights, by the names that Network has.
        threads: cores of this process.
        rank: of this process among the contestant's.
        ports: of this machine, one for each of the contestant's processes.
        options: what this contestant alone knows.
    """

    batch: int = 64
    steps: int = 10
    precision: str = "float32"
    check: bool = False
    evaluate: bool = False
    weights: str = ""
    threads: int = 1
    rank: int = 0
    ports: tuple[int, ...] = (0,)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def dropout(self) -> float:
        """The part of the last hidden units dropped: none where losses are compared."""
        return 0.0 if self.check else 0.5

    def to_json(self) -> str:
        """As one argument of a command."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """The other way."""
        values = json.loads(text)
        return cls(**{**values, "ports": tuple(values["ports"])})
