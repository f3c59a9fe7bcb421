"""Compares this program's speed with others' on this machine: `python -m benchmarks.run [NAME]`.

    python -m benchmarks.run step --batches=64,256        # one suite; all of them without a name
    python -m benchmarks.run step --quick                 # whether it works, in a minute

Suites: step, epoch, workers, communication, shards, worker_shards, checkpoint, startup,
evaluation; and time_to_99, which trains whole runs. Each contestant has processes of its own on the
same cores, with the same threads, images, network and initial weights. First losses are compared
without dropout, and nothing is timed where they differ. Then come rounds of turns, each in a random
order there and back; ratios are taken round by round, and their median stands with its 95 %
bootstrap interval, beside a control: this program against itself. Let nothing else run meanwhile.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import contest, tables, time_to_99
from benchmarks.suites import EPOCH_IMAGES, SUITES
from mnist_dist.errors import EXIT_FAILED, EXIT_USAGE, RunError

ROUNDS = 9
QUICK_ROUNDS = 2


def main(argv: Sequence[str]) -> int:
    """Runs the suites; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", default="", choices=["", *SUITES, "time_to_99"])
    parser.add_argument("--quick", action="store_true", help="whether it works; no figures")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="at least 9 for a figure")
    parser.add_argument("--batches", default="", help="global batches in the place of a suite's")
    parser.add_argument("--seed", type=int, default=0, help="of the order of turns")
    parser.add_argument("--seeds", type=int, default=5, help="of time_to_99's trainings")
    parser.add_argument("--limit_s", type=float, default=3600.0, help="of one of those trainings")
    parser.add_argument("--out", default="runs/benchmarks", help="folder for NAME.json")
    given = parser.parse_args(argv)
    machine = tables.machine()
    print(tables.say(machine), flush=True)
    names = [given.name] if given.name else [*SUITES, "time_to_99"]
    batches = [int(word) for word in given.batches.split(",") if word]
    rounds = QUICK_ROUNDS if given.quick else given.rounds
    for name in names:
        found = {"machine": machine, "command": list(argv), "rounds": rounds, "tables": []}
        try:
            if name == "time_to_99":
                found["tables"] = [time_to_99.run(1 if given.quick else given.seeds, given.limit_s)]
            for comparison in SUITES[name](batches, precisions(machine)) if name in SUITES else ():
                if late := too_many(comparison, rounds):
                    print(f"benchmarks: {name}: {late}", file=sys.stderr)
                    return EXIT_USAGE
                outcome = contest.run(comparison, rounds, given.seed, given.quick)
                found["tables"].append(tables.as_dict(comparison, outcome))
                print(f"\n{tables.table(found['tables'][-1])}", flush=True)
                if given.quick:
                    break
        except RunError as error:
            print(f"benchmarks: {name}: {error}", file=sys.stderr)
            return EXIT_FAILED
        finally:
            folder = Path(given.out)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


def too_many(comparison: contest.Comparison, rounds: int) -> str:
    """Why so many rounds can't be timed; empty where they can.

    A turn must not meet the epoch's end, when this program scores the whole test set.
    """
    steps = (2 * rounds + 1) * comparison.job.steps
    whole = EPOCH_IMAGES // comparison.job.batch
    if comparison.fresh or comparison.job.evaluate or steps <= whole:
        return ""
    most = (whole // comparison.job.steps - 1) // 2
    return f"{rounds} rounds are {steps} steps, an epoch has {whole}; give --rounds up to {most}"


def precisions(machine: dict[str, str]) -> list[str]:
    """What is fast here: bfloat16 only where the CPU multiplies in it."""
    fast = {"avx512_bf16", "amx_bf16"} & set(str(machine["cpu_features"]).split())
    return ["float32", *(["mixed_bfloat16"] if fast else [])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
