"""Finds where two runs first differ: `python -m mnist_dist.compare RUN RUN`.

It lists the flags, versions and hardware in which they differ, the first logged step whose loss
differs and, if both were trained with --digest_every_steps, the first step and the layers whose
gradient or weights differ in any bit.
"""

from mnist_dist import exits

exits.begin(__name__)

import json
import sys
from typing import Any

from mnist_dist.compare import difference, files
from mnist_dist.compare.difference import Difference, Parting
from mnist_dist.compare.files import Run
from mnist_dist.errors import EXIT_FAILED, listing, shorten
from mnist_dist.run import text_table
from mnist_dist.run.command import Parser, answered

EPILOG = (
    "Exit code: 0 if all that both runs have is equal, 1 if not, 2 for a wrong command or file."
)
MOST_NAMED = 6


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _command(argv))


def _command(argv: list[str]) -> int:
    parser = Parser("python -m mnist_dist.compare", __doc__, EPILOG)
    parser.add_argument("run", nargs=2, metavar="RUN", help="a run's --run_dir or --output_dir")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    given = parser.parse_args(argv)
    a, b = (files.read(name) for name in given.run)
    found = difference.between(a, b)
    for note in [*a.notes, *b.notes]:
        print(f"mnist_dist: {note}", file=sys.stderr)
    print(json.dumps(as_dict(found), indent=1) if given.json else text(a, b, found))
    return 0 if found.equal else EXIT_FAILED


def as_dict(found: Difference) -> dict[str, Any]:
    """The comparison as JSON values: the attributes of Difference, and "equal"."""
    partings = {
        name: part and part._asdict()
        for name, part in (("bits", found.bits), ("metrics", found.metrics))
    }
    return {"equal": found.equal, **found._asdict(), **partings}


def text(a: Run, b: Run, found: Difference) -> str:
    """The comparison as a table and one or two lines."""
    rows = [["", a.name, b.name]]
    for kind in ("flags", "versions", "hardware"):
        for name, pair in getattr(found, kind).items():
            label = f"--{name}" if kind == "flags" else name
            rows.append([label, *(shorten("-" if one is None else one, 40) for one in pair)])
    unknown = [run.name for run in (a, b) if not run.facts.get("config")]
    lines = [f"{name}: its flags are unknown (no result.json, no checkpoint)" for name in unknown]
    if len(rows) > 1:
        lines = [*text_table.lines(rows, left=(0,)), *lines]
    elif not lines:
        lines = ["No flag, version or hardware differs."]
    if not found.digests and (a.digests or b.digests):
        without = [run.name for run in (a, b) if not run.digests]
        why = f"{without[0]} has none" if without else "the runs have no such step in common"
        lines.append(f"Digests aren't compared: {why}.")
    return "\n".join([*lines, *_verdict(found)])


def _verdict(found: Difference) -> list[str]:
    if found.equal:
        of = f"the digests of {found.digests} step{'s' * (found.digests > 1)}"
        kinds = ["all metrics"] * (found.lines > 0) + [of] * (found.digests > 0)
        what = " and ".join(kinds)
        return [f"Equal: {what}, up to step {found.steps}, the last that both have."]
    lines = []
    if found.bits:
        differ = "gradient differs" if found.bits.what == "gradient" else "weights differ"
        lines.append(f"The {differ} {_at(found.bits)}: {_named(found.bits.names)}.")
    elif found.digests:
        lines.append(f"The digests of {found.digests} steps are equal.")
    if found.metrics and found.metrics.names:
        what = f"{found.metrics.what}: {', '.join(found.metrics.names)}"
        losses = "; losses {!r}, {!r}".format(*found.metrics.values) if found.metrics.values else ""
        lines.append(f"The metrics differ {_at(found.metrics)}, {what}{losses}.")
    elif found.metrics:
        lines.append(f"The weights at the end differ (step {found.metrics.step}).")
    return lines


def _at(part: Parting) -> str:
    before = f"equal up to step {part.equal_until}" if part.equal_until else "the first compared"
    return f"at step {part.step} ({before})"


def _named(names: tuple[str, ...]) -> str:
    return listing(names, MOST_NAMED)


if __name__ == "__main__":
    exits.end(main)
