"""From the folder that a person names to the run's checkpoints. No TensorFlow."""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist.errors import UsageError


class Found(NamedTuple):
    """A run's checkpoints.

    Attributes:
        folder: that holds folders ckpt-STEP.
        step: the one that was asked for by name; None for what the run reports.
        result: the run's result.json where it led here; else empty.
    """

    folder: Path
    step: int | None
    result: dict[str, Any]

    @property
    def newest(self) -> Path:
        """The folder of the step that was asked for, or of the last one, whole or not."""
        step = max(steps(self.folder)) if self.step is None else self.step
        return self.folder / f"ckpt-{step}"

    @property
    def one_dnn(self) -> bool:
        """Whether the run computed with oneDNN's kernels, which is decided before TensorFlow comes.

        What is wrong with a checkpoint is said when it is read.
        """
        try:
            state = json.loads((self.newest / "state.json").read_text())["state"]
            return state["identity"]["precision"] not in ("float64", "mixed_float16")
        except (OSError, ValueError, KeyError, TypeError):
            return True


def find(run_dir: str) -> Found:
    """Looks for a run's checkpoints.

    Args:
        run_dir: a --checkpoint_dir, one of its ckpt-STEP, a folder with checkpoints/ in it, or an
            --output_dir, whose result.json says where its checkpoints are.

    Raises:
        UsageError: no run is there, or its checkpoints are gone.
    """
    path = Path(run_dir).expanduser()
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise UsageError(f"{run_dir}: {what}; give a run's --checkpoint_dir or --output_dir")
    if (match := _step(path.name)) is not None:
        return Found(path.resolve().parent, match, {})
    beside = (path.parent / "checkpoints",) if path.name == "output" else ()
    for folder in (path, path / "checkpoints", *beside):
        if steps(folder):
            return Found(folder, None, {})
    for output in (path, path / "output"):
        if (output / "result.json").is_file():
            return _named_by(output / "result.json")
    raise UsageError(
        f"{run_dir}: no run is there: neither checkpoints (ckpt-STEP, or checkpoints/ckpt-STEP) "
        "nor a result.json that names them; give a run's --checkpoint_dir or --output_dir"
    )


def steps(folder: Path) -> list[int]:
    """The steps of a folder's checkpoints, whole or not; none where there is no such folder."""
    try:
        found = [_step(name) for name in os.listdir(folder)]
    except OSError:
        return []
    return sorted(step for step in found if step is not None)


def _step(name: str) -> int | None:
    match = re.fullmatch(r"ckpt-(0|[1-9]\d*)", name)
    return int(match[1]) if match else None


def _named_by(path: Path) -> Found:
    """The checkpoints that a result.json speaks of."""
    try:
        result = json.loads(path.read_text())
        folder = Path(result["config"]["checkpoint_dir"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: can't be read ({reason}); give --checkpoint_dir") from error
    if not steps(folder):
        raise UsageError(
            f"{path} names {folder}, and no checkpoint is there; give the folder that has them"
        )
    return Found(folder, None, result)
