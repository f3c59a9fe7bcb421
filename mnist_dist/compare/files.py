"""Reads the files by which two runs are compared; docs/files.md has the schemas. No TensorFlow."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.errors import UsageError, shorten
from mnist_dist.run import store

FORMAT = 1
"""Of the lines of digests.jsonl."""
MOST_BYTES = 1 << 30
WANTED = "give a run's --run_dir or --output_dir"
DIGEST = re.compile("[0-9a-f]{16}", re.ASCII)


class Run(NamedTuple):
    """One run's files.

    Attributes:
        name: as it was given.
        facts: "config", "versions", "arithmetic", "resources", "data", ..., the keys of
            result.json; those of the newest checkpoint where there is no result; else empty.
        metrics: lines of metrics.jsonl by (step, split).
        digests: lines of digests.jsonl by step; empty without the file.
        notes: lines on what could not be compared.
    """

    name: str
    facts: dict[str, Any]
    metrics: dict[tuple[int, str], dict[str, Any]]
    digests: dict[int, dict[str, Any]]
    notes: list[str]


def read(name: str) -> Run:
    """Reads a run.

    Args:
        name: its --run_dir, its --output_dir or, without one, its --checkpoint_dir.

    Raises:
        UsageError: there is no run, or a file is damaged or of another format.
    """
    folder = _folder(name)
    notes: list[str] = []
    metrics: dict[tuple[int, str], dict[str, Any]] = {}
    for line in _lines(folder / "metrics.jsonl", notes):
        if not isinstance(line.get("split"), str) or type(line.get("loss")) not in (int, float):
            raise _damaged(folder / "metrics.jsonl", f"step {line['step']} has no split and loss")
        metrics[line["step"], line["split"]] = line
    digests = {}
    for line in _lines(folder / "digests.jsonl", notes):
        _check_digests(folder / "digests.jsonl", line)
        digests[line["step"]] = line
    return Run(name, _facts(name, folder), metrics, digests, notes)


def _folder(name: str) -> Path:
    path = Path(name)
    try:
        if not path.is_dir():
            what = "a file" if path.exists() else "no such folder"
            raise UsageError(f"{name}: {what}; {WANTED}")
        for folder in (path, path / "output", path / "checkpoints"):
            if any((folder / one).is_file() for one in ("metrics.jsonl", "result.json")):
                return folder
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: can't be read ({shorten(error)}); {WANTED}") from error
    raise UsageError(f"{name}: no metrics.jsonl or result.json there; {WANTED}")


def _facts(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    try:
        found = bounded.loads(bounded.read_text(path, MOST_BYTES))
    except FileNotFoundError:
        return _facts_of_checkpoint(Path(name), folder)
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); {WANTED}") from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    kinds = {"config": dict, "versions": dict, "arithmetic": dict, "resources": dict, "data": str}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key, kind()), kind) for key, kind in kinds.items()
    ):
        raise _damaged(path, "it isn't a run's result")
    return found


def _facts_of_checkpoint(run_dir: Path, folder: Path) -> dict[str, Any]:
    """The facts of a run in its newest whole checkpoint; empty without one."""
    for place in (folder, run_dir / "checkpoints"):
        saved, _ = store.newest(place)
        if saved:
            state = saved.state
            origin, identity = state.get("origin", {}), state.get("identity", {})
            found = {"config": origin.get("config"), "arithmetic": state.get("arithmetic")}
            found |= {"num_replicas": origin.get("replicas"), "data": identity.get("data")}
            return {key: value for key, value in found.items() if value is not None}
    return {}


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The objects of a JSONL file, whose steps don't decrease; empty if there is no file."""
    try:
        data = bounded.read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); {WANTED}") from error
    except ValueError as error:
        raise UsageError(f"{path} {error}; {WANTED}") from error
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):  # the run is writing it, or was killed
        notes.append(f"{path}: its last line is cut, and was left out")
    records, last = [], 0
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = bounded.loads(line.decode())
        except ValueError as error:
            raise _damaged(path, f"line {number}") from error
        step = record.get("step") if isinstance(record, dict) else None
        if type(step) is not int or step < max(last, 1):
            raise _damaged(path, f"line {number} has no step after {last}")
        records.append(record)
        last = step
    return records


def _check_digests(path: Path, line: dict[str, Any]) -> None:
    """Raises UsageError if a line of digests.jsonl isn't of this version's format."""
    if line.get("format") != FORMAT:
        raise UsageError(
            f"{path}: step {line['step']} is of format {shorten(line.get('format'))}, this version "
            f"reads {FORMAT}; train both runs with the same version"
        )
    for kind in ("gradient", "weights"):
        of = line.get(kind)
        if not (isinstance(of, dict) and of) or not all(
            isinstance(digest, str) and DIGEST.fullmatch(digest) for digest in of.values()
        ):
            raise _damaged(path, f"step {line['step']} has no digests of its {kind}")


def _damaged(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{path} is damaged ({shorten(what)}); a run with the same flags and a new folder writes "
        "it again"
    )
