"""Whether a job that ended is worth another try: asked by launch/train.slurm.

Each try without a newer checkpoint counts; a file beside the checkpoints remembers how many.
"""

from mnist_dist import exits

exits.begin(__name__)

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_dist import bounded, flags
from mnist_dist.errors import EXIT_FAILED, EXIT_SAVED
from mnist_dist.run import store
from mnist_dist.run.atomic import replace
from mnist_dist.run.command import Parser, answered

RECORD = "attempts.json"
MOST_BYTES = 10_000


def main(argv: Sequence[str]) -> int:
    """Says in a line what is to be done; returns 0 to try again, 1 to leave it."""
    return answered(lambda: _command(argv))


def _command(argv: Sequence[str]) -> int:
    parser = Parser("python -m mnist_dist.requeue", __doc__)
    parser.add_argument("--exit_code", type=int, required=True, help="of the try that ended")
    parser.add_argument("--job", required=True, help="SLURM's number of the job")
    parser.add_argument("--max_restarts", type=int, required=True, help="without a new checkpoint")
    parser.add_argument("flags", nargs="*", help="after --: the trainer's flags")
    given = parser.parse_args(argv)
    folder = Path(flags.parse(given.flags).checkpoint_dir)
    saved, _ = store.newest(folder)
    step = saved.step if saved else 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before, damage = read(folder / RECORD)
        if damage:
            print(f"mnist_dist: {folder / RECORD} {damage}: earlier tries aren't counted.")
        after = count(before, given.job, step)
        write(folder / RECORD, after)
    except OSError as error:
        print(
            f"mnist_dist: {error.filename}: {error.strerror}. Tries can't be counted, so there is "
            "no further one; mend it and submit again."
        )
        return EXIT_FAILED
    why = "saved when told to stop" if given.exit_code == EXIT_SAVED else "failed"
    if after.tries > given.max_restarts:
        print(
            f"mnist_dist: {why} at step {step}, and {given.max_restarts} restarts brought no newer "
            "checkpoint (MAX_RESTARTS): left. See the log above; submit again when it is mended."
        )
        return EXIT_FAILED
    tries = f"try {after.tries} of {given.max_restarts} without progress; " if after.tries else ""
    print(f"mnist_dist: {why}; {tries}the next try goes on from step {step}.")
    return 0


class Record(NamedTuple):
    """What is remembered of a job's tries.

    Attributes:
        job: SLURM's number of it.
        step: the newest checkpoint's global step after the last try.
        tries: in a row that brought no newer one.
    """

    job: str = ""
    step: int = 0
    tries: int = 0


def read(path: Path) -> tuple[Record, str]:
    """The record of the tries before, and what is wrong with it: then it is an empty one.

    Raises:
        OSError: it is there and can't be read.
    """
    try:
        found = bounded.loads(bounded.read_text(path, MOST_BYTES))
    except (FileNotFoundError, IsADirectoryError):
        return Record(), "is a directory" if path.is_dir() else ""
    except ValueError as error:
        return Record(), f"is damaged ({error})"
    if not isinstance(found, dict) or set(found) != set(Record._fields):
        return Record(), "is damaged (no job, step and tries)"
    numbers = found["step"], found["tries"]
    if not isinstance(found["job"], str) or any(type(n) is not int or n < 0 for n in numbers):
        return Record(), "is damaged (a job, step or number of tries that can't be)"
    return Record(**found), ""


def write(path: Path, record: Record) -> None:
    """Writes the record in the place of the one before, whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    if path.is_dir():
        path.rename(path.with_name(f"{path.name}.damaged-{os.getpid()}"))
    replace(path, json.dumps(record._asdict()).encode())


def count(before: Record, job: str, step: int) -> Record:
    """The record after a try of `job` that left the newest checkpoint at global step `step`."""
    tries = before.tries if before.job == job else 0
    return Record(job, step, 0 if step > before.step else tries + 1)


if __name__ == "__main__":
    exits.end(main)
