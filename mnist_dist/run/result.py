"""The outcome of a run: the contents of result.json, and what `run(Config(...))` returns."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """The keys of result.json, described in docs/files.md, and the history.

    Attributes:
        bit_checks: comparisons of bits, all of which found them equal.
        arithmetic: what decides the last bits beside the flags.
        stopped: why the run ended: completed, max_steps, patience or preempted.
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
    class_names: list[str]
    weights_sha256: str
    bit_checks: int
    data: str
    stopped: str
    config: dict[str, Any]
    arithmetic: dict[str, str]
    versions: dict[str, str]
    resources: dict[str, Any]
    history: tuple[dict[str, Any], ...] = dataclasses.field(default=())

    def __repr__(self) -> str:
        """The scores, the length, and the weights' digest; all else is in the attributes."""
        scores = [
            f"{split} {100 * accuracy:.2f} %"
            for split, accuracy in (
                ("test", self.test_accuracy),
                ("validation", self.validation_accuracy),
            )
            if accuracy is not None
        ]
        epochs = f"{self.epochs:.3g} epoch{'' if self.epochs == 1 else 's'}"
        length = f"{self.steps} steps ({epochs}, {self.train_seconds:.1f} s)"
        digest = f"weights {self.weights_sha256[:8]}"
        return f"Result({', '.join([*scores, length, self.stopped, digest])})"

    def as_dict(self) -> dict[str, Any]:
        """The contents of result.json: everything but the history."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["history"]
        return values
