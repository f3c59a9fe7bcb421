"""What a run came to: result.json, and what `run(Config(...))` returns."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Result:
    """Attributes: docs/files.md has the keys of result.json, which are those but the history.

    Attributes:
        stopped: why: completed, max_steps, patience or preempted.
        history: the rows of metrics.jsonl, in order.
    """

    test_accuracy: float | None
    test_loss: float | None
    validation_accuracy: float | None
    validation_loss: float | None
    steps: int
    epochs: float
    train_seconds: float
    images_per_s: float
    num_replicas: int
    num_workers: int
    precision: str
    deterministic: bool
    parameters: int
    weights_sha256: str
    data: str
    stopped: str
    config: dict[str, Any]
    versions: dict[str, str]
    resources: dict[str, Any]
    history: tuple[dict[str, Any], ...] = dataclasses.field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """What result.json holds."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["history"]
        return values
