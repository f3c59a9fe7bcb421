"""Whether a job that ended is worth another try: asked by launch/train.slurm.

Each try without a newer checkpoint counts; a file beside the checkpoints remembers how many.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_dist import flags
from mnist_dist.errors import EXIT_FAILED, EXIT_SAVED, EXIT_USAGE, UsageError

RECORD = "attempts.json"


def main(argv: Sequence[str]) -> int:
    """Says in a line what is to be done; returns 0 to try again, 1 to leave it."""
    parser = argparse.ArgumentParser("mnist_dist.requeue", description=__doc__)
    parser.add_argument("--exit_code", type=int, required=True, help="of the try that ended")
    parser.add_argument("--job", required=True, help="SLURM's number of the job")
    parser.add_argument("--max_restarts", type=int, required=True, help="without a new checkpoint")
    parser.add_argument("flags", nargs="*", help="after --: the trainer's flags")
    given = parser.parse_args(argv)
    try:
        folder = Path(flags.parse(given.flags).checkpoint_dir)
    except UsageError as error:
        print(f"mnist_dist: {error}", file=sys.stderr)
        return EXIT_USAGE
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    step = newest_step(folder)
    before = json.loads(record.read_text()) if record.exists() else {}
    after = count(before, given.job, step)
    record.write_text(json.dumps(after))
    why = "saved when told to stop" if given.exit_code == EXIT_SAVED else "failed"
    if after["tries"] > given.max_restarts:
        print(
            f"mnist_dist: {why} at step {step}, and {given.max_restarts} restarts brought no newer "
            "checkpoint (MAX_RESTARTS): left. See the log above; submit again when it is mended."
        )
        return EXIT_FAILED
    tries = f"restart {after['tries']} of {given.max_restarts} without progress; "
    print(f"mnist_dist: {why}; {tries if after['tries'] else ''}goes on from step {step}.")
    return 0


def newest_step(folder: Path) -> int:
    """The global step of the newest checkpoint in a folder; 0 if there is none."""
    found = (re.fullmatch(r"ckpt-(\d+)", path.name) for path in folder.glob("ckpt-*"))
    return max((int(match[1]) for match in found if match), default=0)


def count(before: dict[str, Any], job: str, step: int) -> dict[str, Any]:
    """The record after a try of `job` that left the newest checkpoint at global step `step`.

    `before` is the record of the tries before it, empty if there were none. A record has job,
    step, and the number of tries in a row without progress.
    """
    tries = before.get("tries", 0) if before.get("job") == job else 0
    return {"job": job, "step": step, "tries": 0 if step > before.get("step", 0) else tries + 1}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
