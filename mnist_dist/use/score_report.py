"""A score as `evaluate` prints it: as text, as JSON, and the worst mistakes as a picture."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_dist.data.sources import ImageData
from mnist_dist.data.split import Split
from mnist_dist.run import pictures
from mnist_dist.training.evaluation import Evaluation, score_line
from mnist_dist.use.model import Model
from mnist_dist.use.score import Scores


def record(model: Model, data: ImageData, split: str, scores: Scores) -> dict[str, Any]:
    """The score as `--json` prints it; JSON has no nan, so it is None."""
    names = ("examples", "loss", "loss_error", "accuracy", "accuracy_error")
    rows = zip(scores.precision.tolist(), scores.recall.tolist(), strict=True)
    return {
        "checkpoint": str(model.origin.saved.path),
        "step": model.step,
        "tta": model.tta,
        "split": split,
        "data": data.fingerprint,
        "source": data.source,
        **{name: _number(getattr(scores, name)) for name in names},
        "precision_recall": [[_number(p), _number(r)] for p, r in rows],
        "confusion": scores.confusion.tolist(),
    }


def head(model: Model, data: ImageData) -> Iterator[str]:
    """Which weights are scored on which data, as lines."""
    best = model.origin.saved.state.get("best_step")
    kinds = ["the best by --patience"] if best == model.step else []
    kinds += ["averages of --ema"] if model.origin.config.ema else []
    kinds += ["answers averaged over 5 views (--tta)"] if model.tta else []
    yield f"Weights: {model.origin.saved.path}{''.join(f', {kind}' for kind in kinds)}."
    other = "" if data.fingerprint == model.origin.data else " (not what the run was trained on)"
    yield f"Data: {data.source}{other}."


def text(model: Model, split: str, scores: Scores) -> Iterator[str]:
    """The notebook's line, loss and accuracy with their errors, and the classes, as lines."""
    named = {"loss": scores.loss, "accuracy": scores.accuracy}
    yield score_line(split, named).strip()
    yield (
        f"{scores.examples:,} images: loss {scores.loss:.5f} ± {scores.loss_error:.5f}, accuracy "
        f"{100 * scores.accuracy:.3f} ± {100 * scores.accuracy_error:.3f} % (± standard error)"
    )
    yield "\nPrecision and recall in %; how often each label (row) got each prediction (column):"
    names = [model.origin.class_name(number) for number in range(len(scores.confusion))]
    longest = max(map(len, names))
    width, first = max(len(str(scores.confusion.max())), longest) + 1, max(len("label"), longest)
    yield f"{'label':>{first}}  precision  recall {''.join(f'{n:>{width}}' for n in names)}"
    for label, row in enumerate(scores.confusion.tolist()):
        precision, recall = _percent(scores.precision[label]), _percent(scores.recall[label])
        counts = "".join(f"{count or '.':>{width}}" for count in row)
        yield f"{names[label]:>{first}}  {precision:>9}  {recall:>6} {counts}"


def draw_mistakes(model: Model, path: Path, split: Split, evaluation: Evaluation) -> str:
    """Draws the wrong answers of the largest losses into a PNG file, the worst first.

    Returns:
        A line that says what was drawn.

    Raises:
        RunError: the file can't be written.
    """
    worst = evaluation.worst(split.labels)
    names = [model.origin.class_name(number) for number in range(model.num_classes)]
    page = pictures.mistakes(
        split.images[worst],
        split.labels[worst],
        evaluation.predictions[worst],
        evaluation.losses[worst],
        names,
    )
    pictures.save(path, page)
    return f"The {len(worst)} worst mistakes are drawn in {path}."


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{100 * share:.2f}"
